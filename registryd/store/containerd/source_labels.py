"""From which repositories containerd got content: its labels `containerd.io/distribution.source.<host>`.

The values are paths of repositories on that host, joined by commas. A pull labels all content that it looks at:
manifests and configurations always, layers unless their snapshots are there already. An import sets no labels. The host
is without its port (docker.AppendDistributionSourceLabel; seen with 1.6.20 to 2.4.2). So with several registries on one
host the label does not say which one it was.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX: Final = "containerd.io/distribution.source."

Sources = frozenset[tuple[str, str]]
"""Hosts, in lower case, and paths of repositories there."""


def sources_of(labels: Mapping[str, str]) -> Sources:
    """The repositories that the labels of content name."""
    found = [_split(key.removeprefix(_PREFIX), value) for key, value in labels.items() if key.startswith(_PREFIX)]
    return frozenset().union(*found)


# Content of one image has the same labels. A value has at most 4 KiB: containerd adds nothing beyond.
@lru_cache(maxsize=1024)
def _split(host: str, value: str) -> Sources:
    return frozenset((host.lower(), path) for path in value.split(",") if path)
