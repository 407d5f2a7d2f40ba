"""Images that are on several nodes: who keeps them, who comes next, without a leader.

Nothing here pulls or pins: what the node has and can do is behind a contract (`registryd.content.keepable`). No pull
depends on any of it.
"""
