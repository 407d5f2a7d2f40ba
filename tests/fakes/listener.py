"""Somebody at a port who says always the same."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def answering(reply: bytes) -> Iterator[Address]:
    """Takes connections, reads a request and says always the same; says nothing and closes if that is nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = Thread(target=_answer, args=(listener, reply))
        thread.start()
        yield Address("127.0.0.1", listener.getsockname()[1])
        thread.join()


def _answer(listener: socket.socket, reply: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(reply)
