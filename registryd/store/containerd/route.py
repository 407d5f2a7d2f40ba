"""Which way the bytes of this containerd go: from its files if they can be read here, through its API otherwise."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentUnavailable
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.oci.ranges import Span
from registryd.pb.containerd.content_pb2 import ListContentRequest
from registryd.pb.containerd.introspection_pb2 import PluginsRequest
from registryd.store.containerd.files import BlobFiles
from registryd.store.containerd.presence import Located
from registryd.store.containerd.streams import BlobStreams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.pb.containerd.content_pb2 import Info
    from registryd.store.containerd.blobs import Blobs
    from registryd.store.containerd.connection import ContainerdConnection

_CONTENT_PLUGIN: Final = "io.containerd.content.v1"
# The name of the content plugin's folder below containerd's root.
_CONTENT_FOLDER: Final = "io.containerd.content.v1.content"
# Content may be dropped between being listed and being looked for; that all of it is would be a coincidence.
_SAMPLES: Final = 10

_log = logging.getLogger(__name__)


class Route:
    """Decides for files only on proof: a folder in which something that this containerd has was found.

    Where the agent runs in a container, the same path may be an empty folder, or another containerd's; from there
    every answer would be a wrong "not here". So long as there is no content to prove it with, the API is used.
    """

    def __init__(self, connection: ContainerdConnection, *, namespaces: Sequence[str], configured_root: Path) -> None:
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._configured_root = configured_root
        self._streams = BlobStreams(connection)
        self._files: BlobFiles | None = None
        self._candidates: Sequence[Path] = ()
        self._is_settled = False
        self._way = ""
        self._choosing = asyncio.Lock()

    @property
    def blobs(self) -> Blobs:
        return self._files or self._streams

    @property
    def files(self) -> BlobFiles | None:
        """The files that content is read from, if it is."""
        return self._files

    @property
    def roots(self) -> Sequence[Path]:
        """The folder that content is read from, if any; while that cannot be known, all that come into question.

        Good enough to look for what is just arriving: those bytes have a digest, wherever they are found.
        """
        if self._files is not None:
            return (self._files.root,)
        return () if self._is_settled else self._candidates

    @property
    def way(self) -> str:
        """How content is read, in words."""
        return self._way

    @property
    def is_direct(self) -> bool:
        """Whether it is read from files."""
        return self._files is not None

    async def settle(self) -> None:
        """Choose, now that this containerd is known to have something, unless that is done. Raises StoreUnavailable.

        Until then each look at what is not here is a question to containerd: some 0.5 ms of this node's processor at
        either end, and a pull of twelve layers made 600 of them on an empty node.
        """
        if not self._is_settled:
            async with self._choosing:
                if not self._is_settled:
                    await self.choose()

    async def choose(self) -> None:
        """Find out again, for a containerd that may be another one now. Raises StoreUnavailable."""
        samples = await self._samples()
        self._candidates = await self._roots()
        problems = [] if samples else ["it has no content yet to recognise its files by"]
        for root in self._candidates if samples else ():
            files = BlobFiles(root)
            problem = await _problem(files, samples)
            if not problem:
                self._take(files, f"from the files in {root}", is_settled=True)
                return
            problems.append(problem)
        self._take(None, f"through its API: {'; '.join(problems)}", is_settled=bool(samples))

    def _take(self, files: BlobFiles | None, way: str, *, is_settled: bool) -> None:
        # Not before: until then all candidates are looked through and watched for what containerd begins to receive.
        self._files, self._is_settled = files, is_settled
        if way != self._way:
            self._way = way
            _log.info("containerd's content is read %s", way)

    async def _roots(self) -> list[Path]:
        timeout = self._connection.timing.listing
        answer = await self._connection.ask(self._connection.introspection.Plugins, PluginsRequest(), timeout=timeout)
        told = [Path(p.exports["root"]) for p in answer.plugins if p.type == _CONTENT_PLUGIN and "root" in p.exports]
        return list(dict.fromkeys([*told, self._configured_root / _CONTENT_FOLDER]))

    async def _samples(self) -> list[Located]:
        for namespace in self._namespaces:
            async with self._connection.stream(
                self._connection.content.List,
                ListContentRequest(),
                namespace=namespace,
                patience=self._connection.timing.listing,
            ) as messages:
                async for message in messages:
                    if samples := [found for info in message.info[:_SAMPLES] if (found := _located(info, namespace))]:
                        return samples
        return []


def _located(info: Info, namespace: str) -> Located | None:
    try:
        return Located(Digest.parse(info.digest), info.size, namespace)
    except DigestInvalid:
        return None


async def _problem(files: BlobFiles, samples: Sequence[Located]) -> str:
    """Why the agent can read none of the samples from these files; empty when it can read one."""
    problem = ""
    for sample in samples:
        try:
            body = await files.open(sample, Span.whole(sample.size))
        except ContentUnavailable as error:
            problem = f"{files.root}: {error}"
        else:
            await body.aclose()
            return ""
    return problem
