"""nginx, and a server given by its command. Each gives a route for each way it knows.

The ways: `local` sends a file of this machine; `relay` and `relay-tls` what a source sends them, plain or encrypted.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import Certificates, make_certificates
from benchmarks.downloads import Url
from benchmarks.nginx import reference_command, source_command
from benchmarks.processes import free_port, running
from benchmarks.sampling import Route

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    Routes = dict[str, Route]

MINIMAL: Final = (
    f"{sys.executable} -m benchmarks.minimal_server --folder {{folder}} --port {{port}} --plain {{plain}} --tls {{tls}}"
)
_WAYS: Final = ("local", "relay", "relay-tls")
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Source:
    """An nginx with the blob, that nginx and the server under test relay from."""

    folder: Path
    blob: str
    certificates: Certificates
    plain: int
    tls: int


def write_blob(folder: Path, size: int) -> str:
    """Random bytes, a whole number of MiB or less than one, below their digest's name, which is returned."""
    piece = os.urandom(min(size, _MIB))
    digest = hashlib.sha256()
    with (folder / "new").open("wb") as blob:
        for _ in range(size // len(piece)):
            blob.write(piece)
            digest.update(piece)
    (folder / "new").rename(folder / digest.hexdigest())
    return digest.hexdigest()


@contextmanager
def running_source(folder: Path, blob: str) -> Iterator[Source]:
    """The source that both relay from."""
    folder.chmod(0o755)  # nginx's worker is another user; nothing in it is secret
    source = Source(folder, blob, make_certificates(folder), free_port(), free_port())
    command = source_command(folder, source.certificates, plain=source.plain, tls=source.tls)
    with running(command, ports=(source.plain, source.tls)):
        yield source


def start_nginx(cleanup: ExitStack, source: Source) -> Routes:
    port = free_port()
    command = reference_command(source.folder, source.certificates, port=port, plain=source.plain, tls=source.tls)
    server = cleanup.enter_context(running(command, ports=(port,)))
    return {way: Route(server, Url(port, f"/{way}/{source.blob}")) for way in _WAYS}


def start_command(cleanup: ExitStack, source: Source, command: str) -> Routes:
    """A server that answers the same paths as nginx."""
    port = free_port()
    places = {"folder": source.folder, "port": port, "plain": source.plain, "tls": source.tls}
    words = [word.format(**places) for word in shlex.split(command)]
    server = cleanup.enter_context(running(words, ports=(port,)))
    return {way: Route(server, Url(port, f"/{way}/{source.blob}")) for way in _WAYS}
