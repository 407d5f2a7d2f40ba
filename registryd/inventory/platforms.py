"""For which machines an image is: what of an index is wanted, by containerd's rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

# What a variant is where none is said (containerd's platforms.Normalize).
_USUAL_VARIANTS: Final = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


@dataclass(frozen=True, slots=True)
class Platform:
    """`linux/arm64`, `linux/arm/v7`."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os/architecture[/variant]`; raises ValueError."""
        os, architecture, *variant = text.split("/")
        return cls(os, architecture, *variant)

    def fits(self, raw: Any) -> bool:
        """Whether this is what an index's entry says to be for."""
        entry = raw if isinstance(raw, dict) else {}
        if (entry.get("os"), entry.get("architecture")) != (self.os, self.architecture):
            return False
        return not self.variant or self._full(entry.get("variant")) == self._full(self.variant)

    def _full(self, variant: object) -> object:
        return variant or _USUAL_VARIANTS.get(self.architecture, "")

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))
