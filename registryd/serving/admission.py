"""Who is let in at the local registry."""

from __future__ import annotations

from typing import Protocol


class Admission(Protocol):
    """Tells those who may ask from everybody else on the node."""

    def admits(self, header: str | None, /) -> bool:
        """Whether the value of the token's header is right; takes as long whether or not."""
