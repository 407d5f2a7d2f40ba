from __future__ import annotations

import socket

from registryd.transfer.http.connection import connect


async def test_a_request_is_not_kept_back_until_the_handshake_is_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await connect(listener.getsockname(), ssl=None, timeout=2.0)
        try:
            assert wire.splice_fd is not None
            with socket.fromfd(wire.splice_fd, socket.AF_INET, socket.SOCK_STREAM) as connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            wire.close()
