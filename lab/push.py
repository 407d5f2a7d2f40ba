"""Push an image or any other artifact to a plain HTTP registry, byte for byte as its layout has it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode, urljoin

from lab.errors import LabError
from lab.fetch import Request, Response, fetch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.cri import Credentials
    from lab.images import Image
    from lab.layout import Blob, Layout
    from lab.namespaces import Namespace

_CREATED = 201
_ACCEPTED = 202


@dataclass(frozen=True)
class Repository:
    """A repository of a registry, with what it takes to write to it."""

    base_url: str  # http://host:port/v2/name
    namespace: Namespace | None = None
    credentials: Credentials | None = None

    async def push(self, image: Image) -> None:
        """Blobs first, then manifests, the index or tagged manifest last."""
        await self.push_blobs(image.layout, image.blobs)
        for document in image.documents:
            name = image.tag if document == image.root else document.digest
            await self._push_manifest(document, image.layout.read(document.digest), name)

    async def push_blobs(self, layout: Layout, blobs: Iterable[Blob]) -> None:
        """Blobs only, which no manifest need refer to."""
        for blob in blobs:
            with layout.path(blob.digest).open("rb") as content:
                await self._push_blob(blob, content)

    async def _push_blob(self, blob: Blob, content: BinaryIO) -> None:
        begun = await self._send("POST", f"{self.base_url}/blobs/uploads/", expected=_ACCEPTED)
        location = urljoin(f"{self.base_url}/blobs/uploads/", begun.headers["location"])
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': blob.digest})}"
        headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(blob.size)))
        await self._send("PUT", url, headers=headers, body=content, expected=_CREATED)

    async def _push_manifest(self, document: Blob, content: bytes, name: str) -> None:
        headers = (("Content-Type", document.media_type),)
        await self._send("PUT", f"{self.base_url}/manifests/{name}", headers=headers, body=content, expected=_CREATED)

    async def _send(
        self,
        method: str,
        url: str,
        *,
        expected: int,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | BinaryIO = b"",
    ) -> Response:
        request = Request(url, method, (*headers, *self._authorization()), body, timeout=60)
        response = await fetch(request, namespace=self.namespace)
        if response.status != expected:
            raise LabError(f"{method} {url}: {response.status}: {response.body[:500].decode(errors='replace')}")
        return response

    def _authorization(self) -> tuple[tuple[str, str], ...]:
        if not self.credentials:
            return ()
        pair = f"{self.credentials.username}:{self.credentials.password}"
        return (("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),)
