"""A containerd's answers about itself, for operators of the node."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.empty_pb2 import Empty

from registryd.content.source import ContentUnavailable
from registryd.pb.containerd.images_pb2 import ListImagesRequest
from registryd.pb.containerd.introspection_pb2 import PluginsRequest
from registryd.pb.containerd.namespaces_pb2 import ListNamespacesRequest
from registryd.pb.containerd.namespaces_pb2_grpc import NamespacesStub
from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.introspection import described
from registryd.store.containerd.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Survey:
    """`images` counts images by namespace, whatever names they have; `registries` are those of the names.

    `has_cri`: a kubelet can use it.
    """

    version: str
    images: Mapping[str, int]
    registries: Counter[str]
    has_cri: bool


async def survey(socket: Path) -> Survey | str:
    """Ask the containerd behind a socket, given by its whole path; in words why not when it gives no answer."""
    connection = ContainerdConnection(socket, Timing(answer=2.0, listing=4.0))
    try:
        return await _survey(connection, f"unix://{socket}")
    except ContentUnavailable as error:
        return f"{socket}: {error}"
    finally:
        await connection.aclose()


async def _survey(connection: ContainerdConnection, target: str) -> Survey:
    version = (await connection.ask(connection.version.Version, Empty())).version
    plugins = await connection.ask(connection.introspection.Plugins, PluginsRequest())
    images: dict[str, int] = {}
    registries: Counter[str] = Counter()
    for namespace in await _namespaces(connection, target):
        answer = await connection.ask(
            connection.images.List, ListImagesRequest(), namespace=namespace, timeout=connection.timing.listing
        )
        images[namespace] = len({image.target.digest for image in answer.images})
        registries.update(image.name.partition("/")[0] for image in answer.images if "/" in image.name)
    return Survey(version, images, registries, described(version, plugins.plugins).has_cri)


async def _namespaces(connection: ContainerdConnection, target: str) -> list[str]:
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await connection.ask(NamespacesStub(channel).List, ListNamespacesRequest())
    return sorted(namespace.name for namespace in answer.namespaces)
