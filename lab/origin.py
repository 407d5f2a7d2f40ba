"""A real registry as the origin: Debian's docker-registry, whose log says what it was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING

from lab.access_log import Access, parse_access_log
from lab.commands import require
from lab.cri import Credentials
from lab.errors import LabError
from lab.fetch import fetch
from lab.process import Process
from lab.push import Repository
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.toml_text import Table, Value

CREDENTIALS = Credentials("puller", "lab-password")
_HTPASSWD = "puller:$2b$05$abcdefghijklmnopqrstuuL/Ej5MNdcjasz4Sr7bjTMIxZn.WGpgG\n"  # bcrypt of that password
_OFF_SUFFIX = ".off"
_RECORDED_SECONDS = 10.0


class Origin:
    """Keeps what was pushed over stops and starts, until its folder goes."""

    def __init__(  # noqa: PLR0913 - all are named
        self,
        folder: Path,
        *,
        address: str,
        namespace: Namespace | None,
        is_private: bool,
        storage: Path | None = None,
        extra: Table | None = None,
    ) -> None:
        self.address = address  # host:port
        self.storage = storage or folder
        self._forgotten = 0.0  # Unix seconds
        self._extra = extra or {}
        self._folder = folder
        self._namespace = namespace
        self._credentials = CREDENTIALS if is_private else None
        self._process: Process | None = None

    # Its life

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "registry.json"
        settings.write_text(json.dumps(self._settings()))  # every JSON document is YAML too
        argv = [require("docker-registry", package="docker-registry"), "serve", str(settings)]
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        self._process = await Process.start(argv, log=self._log, namespace=self._namespace, environment=environment)
        await self._process.wait_ready(self._is_ready)

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError("the origin has not been started")
        return self._process

    async def stop(self) -> None:
        if self._process:
            await self._process.stop()

    # Content

    async def push(self, image: Image, repository: str) -> None:
        """Raises LabError with the registry's own answer."""
        await Repository(f"{self.url}/v2/{repository}", self._namespace, self._credentials).push(image)

    def blobs_off(self) -> None:
        """Answer every request for a blob with 404 from now on; manifests are still served.

        A docker-registry keeps manifests among its blobs; what is not a manifest's file is moved aside.
        """
        manifests = set(self._manifest_digests())
        for data in self._content.glob("blobs/sha256/*/*/data"):
            if data.parent.name not in manifests:
                data.rename(data.with_suffix(_OFF_SUFFIX))

    def blobs_on(self) -> None:
        for data in self._content.glob(f"blobs/sha256/*/*/data{_OFF_SUFFIX}"):
            data.rename(data.with_suffix(""))

    # What it was asked for

    def requests(self) -> tuple[Access, ...]:
        """Every read of a manifest or blob since the first start, or since `forget_requests`."""
        accesses = parse_access_log(self.log_text())
        return tuple(access for access in accesses if access.is_read and access.began >= self._forgotten)

    async def blob_transfers(self, *, expected: int, blob: str = "", client: str = "") -> list[Access]:
        """The requests for blobs' bytes, as soon as there are so many, or as they are after ten seconds.

        The registry writes the line of a request a moment after its client has the answer. With `blob` (a digest) or
        `client` (an address) only its requests are meant.
        """
        deadline = time.monotonic() + _RECORDED_SECONDS
        while True:
            every = (access for access in self.requests() if access.is_blob_transfer)
            found = [each for each in every if blob in {"", each.reference} and client in {"", each.client}]
            if len(found) >= expected or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.02)

    def log_text(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace")

    def forget_requests(self) -> None:
        """Those that have begun: their lines may come later than this."""
        self._forgotten = time.time()
        with self._log.open("r+b") as log:  # the registry appends, so it goes on at the new end
            log.truncate(0)

    @property
    def _log(self) -> Path:
        return self._folder / "registry.log"

    @property
    def _content(self) -> Path:
        return self.storage / "docker" / "registry" / "v2"

    def _manifest_digests(self) -> Iterator[str]:
        for link in self._content.glob("repositories/**/_manifests/revisions/sha256/*/link"):
            yield link.parent.name

    def _settings(self) -> Table:
        settings: dict[str, Value] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
            "http": {"addr": self.address},
        }
        if self._credentials:
            path = self._folder / "htpasswd"
            path.write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "lab", "path": str(path)}}
        return dict(merged(settings, self._extra))

    async def _is_ready(self) -> bool:
        try:
            return (await fetch(f"{self.url}/v2/", namespace=self._namespace)).status in {
                200,
                400,
                401,
            }  # 400: it speaks TLS
        except OSError:
            return False


@contextlib.asynccontextmanager
async def running_origin(  # noqa: PLR0913 - all are named
    folder: Path,
    *,
    address: str,
    namespace: Namespace | None = None,
    is_private: bool = False,
    storage: Path | None = None,
    extra: Table | None = None,
) -> AsyncIterator[Origin]:
    """A registry that is ready, for the length of the block. A private one asks for CREDENTIALS.

    Args:
        folder: Where its settings and its log are.
        address: host:port to listen on.
        namespace: Where it runs.
        is_private: Whether it asks for a password.
        storage: Where its content is, which it may share with others. Default: the folder.
        extra: Merged over its settings last.
    """
    origin = Origin(folder, address=address, namespace=namespace, is_private=is_private, storage=storage, extra=extra)
    try:
        await origin.start()
        yield origin
    finally:
        await origin.stop()
