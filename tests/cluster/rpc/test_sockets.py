"""gRPC's sockets are found among this process's descriptors, whose numbers others may have by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
