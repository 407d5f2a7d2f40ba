"""TLS over asyncio's sockets."""
