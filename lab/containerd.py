"""A real containerd with everything of its own: root, state, socket, settings and, if wanted, network."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import run
from lab.containerd_config import Mirror, Options, Places, config_toml, hosts_toml
from lab.cri import ImageService
from lab.errors import LabError
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.namespaces import Namespace
    from lab.versions import Release

KUBERNETES = "k8s.io"  # the containerd namespace that CRI uses
_MAX_SOCKET_BYTES = 107  # sockaddr_un.sun_path less its closing NUL
_TTRPC_SUFFIX = ".ttrpc"  # containerd opens a second socket with this after the name of the first
_SETTLE_SECONDS = 60  # what follows an answer (events, garbage collection) takes two seconds; more on a busy machine
_POLL_SECONDS = 0.05
_LEASE = "lab-collect-garbage"  # of nothing: its end makes containerd collect at once


class Containerd:
    """May be started, stopped, killed and started again; its content stays until its folder goes."""

    def __init__(self, release: Release, places: Places, options: Options, namespace: Namespace | None) -> None:
        if len(str(places.socket) + _TTRPC_SUFFIX) > _MAX_SOCKET_BYTES:
            raise LabError(f"the path is too long for a socket: {places.socket}")
        self.release = release
        self.places = places
        self.options = options
        self.images = ImageService(places.socket)
        self._namespace = namespace
        self._process: Process | None = None

    # Its life

    async def start(self) -> None:
        """Return when CRI answers."""
        self.places.hosts.mkdir(parents=True, exist_ok=True)
        self.places.config.write_text(config_toml(self.release, self.places, self.options))
        argv = [self.release.containerd, "--config", str(self.places.config)]
        path = f"{self.release.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        log = self.places.folder / "containerd.log"
        self._process = await Process.start(argv, log=log, namespace=self._namespace, environment={"PATH": path})
        await self._process.wait_ready(self.images.is_ready)

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError(f"{self.release} has not been started")
        return self._process

    async def stop(self) -> None:
        if self._process:
            await self._process.stop()

    async def kill(self) -> None:
        await self.process.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    # Mirrors

    def write_hosts(self, registry: str, *mirrors: Mirror, server: str = "") -> Path:
        """Write the hosts.toml of a registry (or `_default`); it counts from the next pull on."""
        folder = self.places.hosts / registry
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "hosts.toml"
        path.write_text(hosts_toml(mirrors, server=server))
        return path

    # Content

    async def import_archive(self, archive: Path, name: str) -> None:
        """`ctr images import`: the archive's tag becomes `name:<tag>`. All platforms, none of them unpacked."""
        await self.ctr("images", "import", "--all-platforms", "--no-unpack", "--base-name", name, str(archive))

    async def ctr(self, *arguments: str, namespace: str = KUBERNETES) -> str:
        return await run(self.release.ctr, "--address", str(self.places.socket), "--namespace", namespace, *arguments)

    def has_blob(self, digest: str) -> bool:
        """Whether the content is complete in the store, in whichever of its namespaces."""
        return self.places.blob(digest).is_file()

    def committed(self, *digests: str) -> float:
        """When the last of these became content, in seconds of the clock: containerd sets a blob's times to that."""
        return max(self.places.blob(digest).stat().st_mtime for digest in digests)

    def arrived(self, digest: str) -> int:
        """How many bytes of a layer it has received; -1: it is not receiving it."""
        name = hashlib.sha256(f"{KUBERNETES}/1/layer-{digest}".encode()).hexdigest()
        path = self.places.root / "io.containerd.content.v1.content" / "ingest" / name / "data"
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return -1

    async def collect_garbage(self) -> None:
        """Return when containerd has removed what nothing refers to: also what is left of a pull that failed.

        By itself it does so in its own time: the longer its collections take, the rarer they are. With collections of
        half a second, as on a busy machine, they are half a minute apart.
        """
        await self.ctr("leases", "create", "--id", _LEASE)
        await self.ctr("leases", "delete", "--sync", _LEASE)

    async def wait_image(self, reference: str) -> None:
        """Return when CRI lists the image, which follows an import a moment later; LabError when it never does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while reference not in await self.images.tags():  # noqa: ASYNC110 - CRI has no event for it
                    await asyncio.sleep(_POLL_SECONDS)
                return
        raise LabError(f"{self.release} does not list {reference}")

    async def wait_blobs_gone(self, *digests: str) -> None:
        """Return when the garbage collector has removed them all; LabError when it does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while any(map(self.has_blob, digests)):  # noqa: ASYNC110 - before 2.1 no event tells of it
                    await asyncio.sleep(_POLL_SECONDS)
                return
        raise LabError(f"{self.release} keeps {sum(map(self.has_blob, digests))} of {len(digests)} blobs")


@contextlib.asynccontextmanager
async def running_containerd(
    release: Release,
    folder: Path,
    *,
    namespace: Namespace | None = None,
    options: Options | None = None,
) -> AsyncIterator[Containerd]:
    """A containerd that is ready, in a folder of its own, for the length of the block."""
    containerd = Containerd(release, Places(folder), options or Options(), namespace)
    try:
        await containerd.start()
        yield containerd
    finally:
        await containerd.stop()
        _remove_traces()


def _remove_traces() -> None:
    """1.7 and later make this folder wherever their state is. With something in it, it is another containerd's."""
    with contextlib.suppress(OSError):
        Path("/run/containerd").rmdir()
