"""Which clients may use the local registry."""

from __future__ import annotations

from typing import Protocol


class Admission(Protocol):
    """Tells clients that may ask from all other processes of the node."""

    def admits(self, header: str | None, /) -> bool:
        """Whether the value of the token's header is right; takes as long whether or not."""
