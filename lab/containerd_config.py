"""The settings of a lab containerd: config.toml in the format of its version, and hosts.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.containerd_tables import format_for, tables
from lab.toml_text import Table, Value, merged, to_toml

if TYPE_CHECKING:
    from pathlib import Path

    from lab.versions import Release

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
    # Of one image, at a time; parts of a layer count where they are fetched in parallel. 3 is containerd's own default.
    max_concurrent_downloads: int = 3
    concurrent_layer_fetch_buffer: int = 0  # bytes; 2.1 and later, 512 and more switch parallel fetching on
    use_local_image_pull: bool = False  # 2.1 and later: CRI pulls by itself, as it always does before
    socket_group: int = 0  # the group that may use the socket besides root
    format: int = 0  # the file's `version`: 2, 3 or 4, as far as the release reads it; 0: the newest that it reads
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
    """LabError when the release does not read the format that the options ask for, or that format cannot say them."""
    number = format_for(release, options.format)
    config: Table = {
        "version": number,
        "root": str(places.root),
        "state": str(places.state),
        "disabled_plugins": _DISABLED,
        "plugins": {"io.containerd.internal.v1.opt": {"path": str(places.folder / "opt")}},
    }
    config = merged(config, tables(number, release, places, options))
    return to_toml(merged(config, options.extra))


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
