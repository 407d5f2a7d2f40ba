"""gRPC's sockets are found among this process's descriptors, whose numbers others may have by now."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.rpc.sockets import Connection, End, Sockets

if TYPE_CHECKING:
    from pathlib import Path


def test_of_a_number_that_a_file_has_by_now_no_descriptor_is_left(tmp_path: Path) -> None:
    """A connection ended between two looks, and its number went to something else. Each test looks at what is left."""
    sockets = Sockets(3173)
    with (tmp_path / "file").open("w") as file:
        sockets.end([Connection(End("192.0.2.1", 40000), file.fileno(), address=b"")])
        sockets.see(0.0)
        assert sockets.listeners() == []
        file.write("it is still open")


def test_a_connection_that_was_reset_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        sockets = Sockets(door.getsockname()[1])
        with socket.create_connection(door.getsockname()) as caller:
            accepted, _ = door.accept()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it resets it
        with accepted:
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)
            listeners = sockets.listeners()
            for listener in listeners:
                with listener:
                    listener.listen(10)
            assert listeners
