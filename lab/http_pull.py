"""A pull without containerd: the same requests in the same order, every byte verified and then thrown away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from lab.errors import PullError
from lab.fetch import Request
from lab.images import local_architecture
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.digest import Digest
from registryd.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from lab.agent import Agent

_OK = 200


async def pull_over_http(agent: Agent, reference: str) -> None:
    """Pull this machine's platform through an agent. Raises PullError."""
    registry, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    pull = _Pull(agent, repository, registry)
    digest = await pull.resolve(tag)
    document = await pull.content("manifests", digest)
    manifest = parse_manifest(document)
    if manifest.media_type in INDEX_TYPES:
        manifest = parse_manifest(await pull.content("manifests", _own_platform(document)))
    await asyncio.gather(*(pull.content("blobs", child.digest) for child in manifest.children))


class _Pull:
    def __init__(self, agent: Agent, repository: str, registry: str) -> None:
        self._agent = agent
        self._repository = repository
        self._registry = registry

    async def resolve(self, tag: str) -> Digest:
        answer = await self._agent.ask_registry(Request(self._url("manifests", tag), "HEAD"))
        if answer.status != _OK:
            raise PullError(f"nobody knows {self._repository}:{tag}")
        return Digest.parse(answer.headers["docker-content-digest"])

    async def content(self, kind: str, digest: Digest) -> bytes:
        answer = await self._agent.ask_registry(Request(self._url(kind, str(digest))))
        if answer.status != _OK:
            raise PullError(f"{digest}: {answer.status} {answer.body.decode(errors='replace')}")
        if not digest.verifies(answer.body):
            raise PullError(f"{digest}: the bytes are of another digest")
        return answer.body

    def _url(self, kind: str, reference: str) -> str:
        return f"/v2/{self._repository}/{kind}/{reference}?ns={self._registry}"


def _own_platform(index: bytes) -> Digest:
    for entry in json.loads(index)["manifests"]:
        if entry.get("platform", {}).get("architecture") == local_architecture():
            return Digest.parse(entry["digest"])
    raise PullError(f"the image is not for {local_architecture()}")
