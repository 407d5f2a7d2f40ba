"""A containerd's answers about itself and its settings, for the commands that set nodes up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.empty_pb2 import Empty

from registryd.content.source import StoreUnavailable
from registryd.pb.containerd.introspection_pb2 import PluginsRequest
from registryd.pb.containerd.introspection_pb2_grpc import IntrospectionStub
from registryd.pb.containerd.version_pb2_grpc import VersionStub

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.pb.containerd.introspection_pb2 import Plugin

_CONTENT: Final = "io.containerd.content.v1"
_CRI: Final = ("io.containerd.grpc.v1", "cri")
_IMAGES: Final = ("io.containerd.cri.v1", "images")
_TIMEOUT: Final = 2.0
# As in Connection: a connection of its own, even if another part of this process talks to the same socket.
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True)
class Introspection:
    """`config_path` and `discards_layers` are what it uses, with its defaults; None: it does not say (before 2.4).

    `has_cri`: a kubelet can use it. `root`: its root directory, if it says.
    """

    version: str
    has_cri: bool
    config_path: str | None = None
    discards_layers: bool | None = None
    root: Path | None = None


def introspect(socket: Path, *, patience: float = 0) -> Introspection:
    """Ask the containerd behind a socket, given by its whole path; blocks. Raises StoreUnavailable.

    One that does not answer is waited for, `patience` seconds: it may just be starting.
    """
    timeout = patience or _TIMEOUT
    with grpc.insecure_channel(f"unix://{socket}", options=_OPTIONS) as channel:
        try:
            version = VersionStub(channel).Version(Empty(), timeout=timeout, wait_for_ready=bool(patience))
            answer = IntrospectionStub(channel).Plugins(PluginsRequest(), timeout=_TIMEOUT)
        except grpc.RpcError as error:
            raise StoreUnavailable(f"{socket}: {_reason(error)}") from error
    return described(version.version, answer.plugins)


def _reason(error: Any) -> str:
    """The reason of an error. The errors of gRPC are calls, too (grpc.Call)."""
    return f"{error.code().name}: {error.details()}"


def described(version: str, plugins: Iterable[Plugin]) -> Introspection:
    """A containerd's own description, from its version and plugins."""
    exports = {(plugin.type, plugin.id): dict(plugin.exports) for plugin in plugins}
    images = exports.get(_IMAGES, {})
    discards = images.get("DiscardUnpackedLayers")
    content = next((each["root"] for (kind, _), each in exports.items() if kind == _CONTENT and "root" in each), None)
    return Introspection(
        version,
        has_cri=_CRI in exports,
        config_path=images.get("RegistryConfigPath"),
        discards_layers=None if discards is None else discards == "true",
        root=Path(content).parent if content else None,
    )
