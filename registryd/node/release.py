"""Which containerd a node runs, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")
# The newest format of the configuration that is known here: what `containerd config default` writes since 2.3.
NEWEST_FORMAT = 4
_NEWEST_FORMATS = (((2, 3), NEWEST_FORMAT), ((2, 0), 3))
_OLD = 2  # that of 1.x


@dataclass(frozen=True, slots=True)
class Release:
    """containerd's version; empty when it is not known. An unknown version gets what every version accepts."""

    version: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1.7.24`, or what `containerd --version` prints, which has the name of the project before it."""
        found = _VERSION.search(text)
        return cls(tuple(int(part or 0) for part in found.groups())) if found else cls()

    @classmethod
    def of_format(cls, newest: int) -> Self:
        """The oldest that takes a configuration whose files have up to this format."""
        return cls(next((since for since, known in _NEWEST_FORMATS[::-1] if _OLD < newest <= known), (1, 7)))

    def __str__(self) -> str:
        return f"containerd {'.'.join(map(str, self.version))}" if self.version else "containerd"

    @property
    def is_known(self) -> bool:
        return bool(self.version)

    # Its configuration

    @property
    def newest_format(self) -> int:
        """The newest format that it starts with, of those known here. 1.6 looks at no version above 2."""
        if self.version < (1, 7):
            return NEWEST_FORMAT
        return next((newest for since, newest in _NEWEST_FORMATS if self.version >= since), _OLD)

    @property
    def merges_drop_ins(self) -> bool:
        """Before 2.0 an imported file replaces the whole table of a plugin."""
        return self.version >= (2,)

    @property
    def migrates_each_file(self) -> bool:
        """Before 2.3 the files are put together first, and the format of the last that names one is that of all."""
        return self.version >= (2, 3)

    @property
    def resolves_relative_patterns(self) -> bool:
        """1.6 takes a relative pattern in `imports` from its working directory."""
        return not self.is_known or self.version >= (1, 7)

    @property
    def ignores_path_lists(self) -> bool:
        """From 2.1 on the transfer service pulls, and it takes `config_path` for one path. If unknown: to be safe."""
        return not self.version or self.version >= (2, 1)

    @property
    def default_config_paths(self) -> str:
        """The `config_path` when no file sets it."""
        return "/etc/containerd/certs.d:/etc/docker/certs.d" if self.version >= (2, 2) else ""

    # hosts.toml files

    @property
    def reads_brackets_in_names(self) -> bool:
        """1.6 and 1.7 take a bracket in the quoted name of a table for its end. If unknown: those alive do not."""
        return not self.is_known or self.version >= (2,)

    @property
    def heeds_a_lone_server(self) -> bool:
        """Before 2.0 a hosts.toml without any [host] is an error, and so ignored."""
        return self.version >= (2,)

    @property
    def knows_referrers(self) -> bool:
        """Whether `referrers` is a capability. If the version is unknown: yes, for maintained versions know it."""
        return not self.is_known or self.version >= (2, 2)

    @property
    def reads_dial_timeout(self) -> bool:
        """Whether it reads the key; other versions ignore it. If unknown: yes, for maintained versions read it."""
        return not self.is_known or self.version >= (2, 1) or self.version >= (2, 0, 7)
