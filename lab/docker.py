"""A Docker engine of Debian's newest suite, which is asked by its API: no client is needed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote

from lab.apt import unpack_package
from lab.errors import PullError
from lab.kept import cache_folder, keep
from lab.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.namespaces import Namespace
    from lab.versions import Release

Store: TypeAlias = Literal["classic", "containerd"]
"""Where the engine keeps images: its own place, or its containerd."""
STORES: Final[tuple[Store, ...]] = ("classic", "containerd")
# Debian's packages of Docker 28 and later; a store that needs neither overlayfs nor privileges beyond root's.
_SUITE: Final = "sid"
_DRIVERS: Final[dict[Store, str]] = {"classic": "vfs", "containerd": "native"}
_PULL_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Docker:
    """A running engine."""

    socket: Path

    async def pull(self, name: str) -> None:
        """Pull by tag or by digest. Raises PullError with the engine's own reason."""
        repository, by_digest, digest = name.partition("@")
        repository, tag = (repository, digest) if by_digest else name.rsplit(":", 1)
        path = f"/images/create?fromImage={quote(repository, safe='')}&tag={quote(tag, safe='')}"
        status, said = await asyncio.to_thread(self._ask, "POST", path)
        lines = [json.loads(line) for line in said.splitlines()]
        if status != http.client.OK or (lines and "error" in lines[-1]):
            raise PullError(f"{name}: {status}: {lines[-1:]}")

    async def layers(self, name: str) -> tuple[str, ...]:
        """The uncompressed layers of an image that is here."""
        _, said = await asyncio.to_thread(self._ask, "GET", f"/images/{quote(name, safe='')}/json")
        image: dict[str, Any] = json.loads(said)
        return tuple(image["RootFS"]["Layers"])

    async def is_ready(self) -> bool:
        try:
            return (await asyncio.to_thread(self._ask, "GET", "/_ping"))[0] == http.client.OK
        except OSError:
            return False

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("docker", timeout=_PULL_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_PULL_SECONDS)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.socket))
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()


@contextlib.asynccontextmanager
async def running_docker(
    folder: Path, *, store: Store, mirror: str, containerd: Release, namespace: Namespace
) -> AsyncIterator[Docker]:
    """An engine without a network, with a mirror of Docker Hub, for the length of the block."""
    programs = await obtain_docker()
    folder.mkdir(parents=True)  # noqa: ASYNC240 - the lab has no other tasks
    settings = {
        "registry-mirrors": [mirror],
        "features": {"containerd-snapshotter": store == "containerd"},
        "storage-driver": _DRIVERS[store],
        "iptables": False,
        "ip6tables": False,
        "bridge": "none",
    }
    (folder / "daemon.json").write_text(json.dumps(settings))
    places = {
        "--config-file": folder / "daemon.json",
        "--data-root": folder / "root",
        "--exec-root": folder / "exec",
        "--pidfile": folder / "pid",
        "--host": f"unix://{folder / 'sock'}",
    }
    command = [str(programs / "dockerd"), *(str(part) for pair in places.items() for part in pair)]
    path = {"PATH": f"{containerd.programs}:{programs}:{os.environ['PATH']}"}
    async with running(command, log=folder / "log", namespace=namespace, environment=path) as process:
        docker = Docker(folder / "sock")
        await process.wait_ready(docker.is_ready)
        yield docker


async def obtain_docker() -> Path:
    """The folder with dockerd. Raises UnavailableError."""
    kept = await keep(cache_folder("docker") / _SUITE, partial(_download, suite=_SUITE))
    return kept / "usr" / "sbin"


async def _download(work: Path, *, suite: str) -> Path:
    await unpack_package("docker.io", suite=suite, target=work / "unpacked", work=work)
    return work / "unpacked"
