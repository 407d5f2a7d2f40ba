"""Images that several nodes keep: which nodes keep them, and which node comes next, without a leader.

This package neither pulls nor pins: a contract (`registryd.content.keepable`) does both for it. No pull depends on this
package.
"""
