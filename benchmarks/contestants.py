"""Who takes part: nginx, a server given by its command, two real agents. Each gives a route for each way it knows.

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
_AGENT: Final = """
[registry]
listen = "127.0.0.1:{registry}"
[authorization]
mode = "open"
[store]
kind = "directory"
directory = "{directory}"
[peers]
listen = "127.0.0.1:{peers}"
content_listen = "127.0.0.1:{content}"
[discovery]
kind = "static"
peers = ["127.0.0.1:{other}"]
[admin]
listen = "127.0.0.1:{admin}"
[log]
level = "warning"
"""


@dataclass(frozen=True, slots=True)
class Source:
    """An nginx with the blob, that nginx and the server under test relay from."""

    folder: Path
    blob: str
    certificates: Certificates
    plain: int
    tls: int


def write_blob(folder: Path, size: int) -> str:
    """Random bytes below their digest's name, which is returned."""
    piece = os.urandom(_MIB)
    digest = hashlib.sha256()
    with (folder / "new").open("wb") as blob:
        for _ in range(size // _MIB):
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


def start_agents(cleanup: ExitStack, source: Source) -> Routes:
    """Two agents of which one has the blob. The other's source is the first, where nginx's is nginx."""
    one, other = free_port(), free_port()
    return {
        "local": _start_agent(cleanup, source, one, other, has_blob=True),
        "relay": _start_agent(cleanup, source, other, one, has_blob=False),
    }


def _start_agent(cleanup: ExitStack, source: Source, own: int, other: int, *, has_blob: bool) -> Route:
    directory = source.folder / f"agent-{own}"
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    if has_blob:
        (directory / "blobs/sha256" / source.blob).hardlink_to(source.folder / source.blob)
    registry, content, admin = (free_port() for _ in range(3))
    config = directory / "agent.toml"
    config.write_text(
        _AGENT.format(registry=registry, content=content, admin=admin, peers=own, other=other, directory=directory)
    )
    command = [sys.executable, "-m", "registryd", "agent", "--config", str(config)]
    server = cleanup.enter_context(running(command, ports=(registry, content, own)))
    return Route(server, Url(registry, f"/v2/library/benchmark/blobs/sha256:{source.blob}?ns=docker.io"))
