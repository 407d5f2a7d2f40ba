"""Which containerd a node runs, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Release:
    """containerd's version; empty when nobody could say. An unknown one is given what every version takes."""

    version: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1.7.24`, or what `containerd --version` prints, which has the name of the project before it."""
        found = _VERSION.search(text)
        return cls(tuple(int(part or 0) for part in found.groups())) if found else cls()

    def __str__(self) -> str:
        return f"containerd {'.'.join(map(str, self.version))}" if self.version else "containerd"

    @property
    def is_known(self) -> bool:
        return bool(self.version)

    @property
    def heeds_a_lone_server(self) -> bool:
        """Before 2.0 a hosts.toml without any [host] is an error, and so ignored."""
        return self.version >= (2,)

    @property
    def merges_drop_ins(self) -> bool:
        """Before 2.0 an imported file replaces the whole table of a plugin."""
        return self.version >= (2,)

    @property
    def ignores_path_lists(self) -> bool:
        """From 2.1 on the transfer service pulls, and it takes `config_path` for one path. If unknown: to be safe."""
        return not self.version or self.version >= (2, 1)

    @property
    def default_config_paths(self) -> str:
        """What `config_path` is when nothing sets it (2.2: from its source; it could not be tried)."""
        return "/etc/containerd/certs.d:/etc/docker/certs.d" if self.version >= (2, 2) else ""
