"""CRI's settings of images in a configuration of containerd: in which table they count, and what they say.

Which tables count, by the version of containerd and the format of a file, was seen with `containerd config dump` of
1.6.20, 1.7.24, 2.1.9, 2.3.7 and 2.4.2; e2e/test_containerd_config.py compares it with theirs again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registryd.node.release import Release

Table: TypeAlias = tuple[str, ...]

# Where the settings are since 2.0, in 1.x, and before there were versions of the format.
NEW: Final[Table] = ("plugins", "io.containerd.cri.v1.images")
OLD: Final[Table] = ("plugins", "io.containerd.grpc.v1.cri")
OLDEST: Final[Table] = ("plugins", "cri")
TABLES: Final = (NEW, OLD, OLDEST)
# Where each format has them; 0 is a file that names none.
TABLE_OF_FORMAT: Final[Mapping[int, Table]] = {0: OLDEST, 1: OLDEST, 2: OLD, 3: NEW, 4: NEW}

_V1, _V2, _V4 = 1, 2, 4
# What 2.x takes over from the old table, and from its sub-table `containerd`: the latter only beside `runtimes`.
_TAKEN_OVER: Final = ("registry", "max_concurrent_downloads", "image_pull_with_sync_fs")
_TAKEN_OVER_WITH_RUNTIMES: Final = ("snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")


def counting_tables(release: Release, version: int) -> tuple[Table, ...]:
    """The tables that count in a file of this format (before 2.3: in all of them), the winning one last."""
    if release.migrates_each_file:
        return {0: TABLES, _V1: TABLES, _V4: (NEW,)}.get(version, (NEW, OLD))
    if release.merges_drop_ins:
        return TABLES if version == _V2 else (NEW,)
    return (OLDEST,) if version <= _V1 else (OLD,)


def table_at(document: Mapping[str, Any], path: Iterable[str]) -> dict[str, Any]:
    """Empty where there is none."""
    table: Any = document
    for key in path:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}


def images_table(document: Mapping[str, Any], release: Release, version: int) -> dict[str, Any]:
    """The document's settings, as 2.x would write them."""
    found: dict[str, Any] = {}
    for path in counting_tables(release, version):
        table = table_at(document, path)
        found |= table if path == NEW else _migrated(table, release)
    return found


def _migrated(table: Mapping[str, Any], release: Release) -> dict[str, Any]:
    below = table_at(table, ("containerd",))
    is_dropped = release.merges_drop_ins and "runtimes" not in below
    taken = {key: table[key] for key in _TAKEN_OVER if key in table}
    return taken if is_dropped else taken | {key: below[key] for key in _TAKEN_OVER_WITH_RUNTIMES if key in below}


@dataclass(frozen=True, slots=True)
class ContainerdImagesSettings:
    """A configuration's settings on images, all its files together, as 2.x would write them."""

    table: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config_path(self) -> str:
        """Empty: nothing sets it."""
        return str(self._registry.get("config_path") or "")

    @property
    def discards_layers(self) -> bool:
        """Whether layers go once they are unpacked."""
        return self.table.get("discard_unpacked_layers") is True

    @property
    def pulls_locally(self) -> bool:
        """Whether 2.1 and later let CRI pull by itself, as before, and not the transfer service."""
        return (
            self.discards_layers
            or any(self.table.get(key) is True for key in ("use_local_image_pull", "image_pull_with_sync_fs"))
            or self.table.get("disable_snapshot_annotations") is False
            or self.table.get("max_concurrent_downloads", 3) != 3  # noqa: PLR2004 - containerd's default
            or bool(self._registry.get("mirrors"))
        )

    @property
    def in_the_way(self) -> str:
        """Settings that containerd refuses beside config_path (its ValidatePluginConfig); empty: none.

        Mirrors, and the tls of configs; their auth may stay.
        """
        if self._registry.get("mirrors"):
            return "registry.mirrors"
        configs = self._registry.get("configs")
        hosts = configs.values() if isinstance(configs, dict) else ()
        return "registry.configs" if any(isinstance(host, dict) and host.get("tls") for host in hosts) else ""

    @property
    def _registry(self) -> Mapping[str, Any]:
        return table_at(self.table, ("registry",))
