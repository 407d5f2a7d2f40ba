"""Moving bytes: from a file, a socket or memory into a socket, by the kernel wherever it can.

The package knows descriptors, sockets, spans and bytes. It does not know which node has content, why a node wants it,
or HTTP servers.
"""
