"""Moving bytes: from a file, a socket or memory into a socket, by the kernel wherever it can.

Knows descriptors, sockets, spans and bytes. Does not know who has content, why it is wanted, or HTTP servers.
"""
