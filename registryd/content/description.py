"""A store's description of itself, for operators of the node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDescription:
    """`reading` says in words how bytes are read, `is_direct` whether the kernel can send them.

    `names` are the names of what is here, and `images` how many images they mean, by their digests: a tag, a digest and
    containerd's id of one image are three names. `kept_layers` and `kept_bytes`: what only we keep in it.
    """

    kind: str
    reading: str
    is_direct: bool
    names: tuple[str, ...]
    images: int
    kept_layers: int = 0
    kept_bytes: int = 0
