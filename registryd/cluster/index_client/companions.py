"""Layers that belong together: a node gets the layers of an image at the same time, over the same link.

Where a chain is right, all layers are to come down the chain in the same order of nodes. Where a tree is right, each
node is to pass on one layer with its whole link, and only take the others (SplitStream, SOSP 2003). Index nodes differ
from layer to layer and do not ask each other, so each claim carries what they need to know for this.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.recent import Recent
from registryd.oci.manifest import is_manifest_type

if TYPE_CHECKING:
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest

# Smaller content is over before its arrangement matters: manifests and configurations, which come before the layers.
LARGE_BYTES: Final = 1 << 20
# containerd's max_concurrent_downloads.
_LAYERS_AT_ONCE: Final = 3
# How long after a manifest its layers are asked for: a pull that waits for a slot of containerd's comes later.
_LINE_SECONDS: Final = 60.0
# Two thousand images.
_REMEMBERED: Final = 20_000
# Manifests whose layers may be coming now.
_LINES: Final = 100


@dataclass(frozen=True, slots=True)
class Side:
    """The part of a claim that relates to other nodes and layers, as `Claim` has it."""

    below: Address | None = None
    places: int | None = None
    rank: int | None = None


@dataclass(slots=True)
class _Line:
    """The nodes that claimed a manifest at the same time, as this one of them knows it."""

    before: Address | None
    rank: int | None
    until: float


class LayerSchedule:
    """Learns from manifests which layers come together, and from claims of manifests which node came just before."""

    def __init__(self) -> None:
        # Of the latest manifests: the manifest, and the place among its large layers, None for what is small.
        self._children: Recent[Digest, tuple[Digest, tuple[int, int] | None]] = Recent(_REMEMBERED)
        # By manifest, the latest last.
        self._lines: OrderedDict[Digest, _Line] = OrderedDict()

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """These are going to be asked for; `digest` is the manifest's."""
        children = [child for child in manifest.children if not is_manifest_type(child.media_type)]
        large = [child.digest for child in children if child.size > LARGE_BYTES]
        positions = {digest: (position, len(large)) for position, digest in enumerate(large)}
        for child in children:
            self._children.put(child.digest, (digest, positions.get(child.digest)))

    def came_after(self, address: Address | None, digest: Digest, *, rank: int | None = None) -> None:
        """Note the node that claimed this small digest just before; `rank`: how many did. Layers may follow."""
        if self._children.get(digest):
            return
        self._lines[digest] = _Line(address, rank, clock.now() + _LINE_SECONDS)
        self._lines.move_to_end(digest)
        if len(self._lines) > _LINES:
            self._lines.popitem(last=False)

    def is_first(self, digest: Digest) -> bool:
        """Whether no node had claimed the manifest before this node, lately."""
        return self._rank_of(digest) == 0

    def lose(self, digest: Digest) -> None:
        """Note that the node before this one did not come for this layer: it has it, or does not want the image."""
        if (line := self._line(digest)) is not None:
            line.before = None

    def side(self, digest: Digest, *, own: Address) -> Side:
        """The `Side` of a claim of large content by the node at `own`."""
        line = self._line(digest)
        if line is None:
            return Side()
        rank = self.rank(digest)
        return Side(rank=rank) if line.before is None else Side(line.before, self._places(digest, own), rank)

    def rank(self, digest: Digest) -> int | None:
        """How many had claimed the manifest of this content before this node; None when that is not known."""
        child = self._children.get(digest)
        return None if child is None else self._rank_of(child[0])

    def _rank_of(self, manifest: Digest) -> int | None:
        line = self._lines.get(manifest)
        return line.rank if line is not None and clock.now() < line.until else None

    def _line(self, digest: Digest) -> _Line | None:
        """The line of this layer's manifest; the latest, if no manifest is known to name the layer."""
        child = self._children.get(digest)
        line = self._lines.get(child[0] if child else next(reversed(self._lines), digest))
        return line if line is not None and clock.now() < line.until else None

    def _places(self, digest: Digest, own: Address) -> int | None:
        child = self._children.get(digest)
        if child is None or child[1] is None:
            return None
        position, count = child[1]
        first = position - position % _LAYERS_AT_ONCE
        together = min(_LAYERS_AT_ONCE, count - first)
        if together == 1:
            return None
        is_passed_on = position - first == _number(own) % together
        return together if is_passed_on else 0


def _number(own: Address) -> int:
    return int.from_bytes(blake2b(str(own).encode(), digest_size=8).digest())
