"""The settings of a lab containerd: config.toml in the form of its version, and hosts.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.lab.toml_text import Table, Value, merged, to_toml

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.lab.versions import Release

_VERSION_3_SINCE = (2, 0, 0)
# Storage drivers that need devices or modules of their own, and plugins that talk to somebody outside.
_DISABLED = [
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs", "blockfile", "erofs")),
    "io.containerd.nri.v1.nri",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
]


@dataclass(frozen=True)
class Options:
    """What the tests vary."""

    snapshotter: str = "native"  # needs nothing of the kernel; copies files where overlayfs stacks them
    discard_unpacked_layers: bool = False
    concurrent_layer_fetch_buffer: int = 0  # bytes; 2.1 and later, 512 and more switch parallel fetching on
    extra: Table = field(default_factory=dict)  # merged over the whole file last


@dataclass(frozen=True)
class Places:
    """Where one containerd keeps its things: all below one folder."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def hosts(self) -> Path:
        """The `config_path`: a folder for each registry."""
        return self.folder / "certs.d"

    def blob(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.root / "io.containerd.content.v1.content" / "blobs" / algorithm / encoded


def config_toml(release: Release, places: Places, options: Options) -> str:
    is_version_3 = release.version >= _VERSION_3_SINCE
    plugins = _plugins_version_3(places, options) if is_version_3 else _plugins_version_2(places, options)
    plugins["io.containerd.internal.v1.opt"] = {"path": str(places.folder / "opt")}
    config: Table = {
        "version": 3 if is_version_3 else 2,
        "root": str(places.root),
        "state": str(places.state),
        "disabled_plugins": _DISABLED,
        "grpc": {"address": str(places.socket)},
        "plugins": plugins,
    }
    return to_toml(merged(config, options.extra))


def _plugins_version_2(places: Places, options: Options) -> dict[str, Value]:
    containerd: Table = {
        "snapshotter": options.snapshotter,
        "discard_unpacked_layers": options.discard_unpacked_layers,
    }
    return {
        "io.containerd.grpc.v1.cri": {
            "containerd": containerd,
            "registry": {"config_path": str(places.hosts)},
            "cni": _cni(places),
        }
    }


def _plugins_version_3(places: Places, options: Options) -> dict[str, Value]:
    images: Table = {
        "snapshotter": options.snapshotter,
        "discard_unpacked_layers": options.discard_unpacked_layers,
        "concurrent_layer_fetch_buffer": options.concurrent_layer_fetch_buffer,
        "registry": {"config_path": str(places.hosts)},
    }
    unpack: Table = {"platform": "linux", "snapshotter": options.snapshotter}
    transfer: Table = {
        "unpack_config": [unpack],
        # The transfer service, which pulls by default, looks only here; local pull only at the images plugin.
        "concurrent_layer_fetch_buffer": options.concurrent_layer_fetch_buffer,
    }
    return {
        "io.containerd.cri.v1.images": images,
        "io.containerd.cri.v1.runtime": {"cni": _cni(places)},
        "io.containerd.transfer.v1.local": transfer,
    }


def _cni(places: Places) -> Table:
    return {"conf_dir": str(places.folder / "cni"), "bin_dir": str(places.folder / "cni")}


@dataclass(frozen=True)
class Mirror:
    """One `[host]` of a hosts.toml. Everything but the URL and its capabilities only where it is set."""

    url: str
    capabilities: tuple[str, ...] = ("pull", "resolve")
    override_path: bool = False
    dial_timeout: str = ""  # "1s"; since 2.0.7 and 2.1
    header: Table = field(default_factory=dict)
    extra: Table = field(default_factory=dict)  # ca, client, skip_verify

    def table(self) -> Table:
        table: dict[str, Value] = {"capabilities": self.capabilities}
        if self.override_path:
            table["override_path"] = True
        if self.dial_timeout:
            table["dial_timeout"] = self.dial_timeout
        return {**table, **self.extra, **({"header": self.header} if self.header else {})}


def hosts_toml(mirrors: tuple[Mirror, ...], *, server: str = "") -> str:
    """`server` is the upstream, asked last; empty: containerd derives it from the reference."""
    # containerd before 2.0 ignores a file without any [host], so a lone server is also its own mirror.
    hosts: Table = {mirror.url: mirror.table() for mirror in mirrors or (Mirror(server),)}
    return to_toml({"server": server, "host": hosts} if server else {"host": hosts})
