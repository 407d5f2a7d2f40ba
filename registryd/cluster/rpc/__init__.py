"""Questions between members: client, server, and the messages on the wire."""
