"""A client's wish that the server need not grant (RFC 7240): that an image be stored as a whole.

The client sends `Prefer: whole="linux/amd64,linux/arm64"`, or `Prefer: whole` for every platform, with the GET of a
manifest. A server that grants the wish answers when all content of the manifest is stored: `Preference-Applied: whole;
pieces=4; bytes=5120`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from registryd.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository

_WHOLE: Final = re.compile(
    r'(?:^|[,;])[ \t]*whole(?:="(?P<platforms>[a-z0-9/,._-]{0,400})")?[ \t]*(?:$|[,;])', re.ASCII
)
_MOST_PLATFORMS: Final = 16


@dataclass(frozen=True, slots=True)
class Whole:
    """An image that is stored as a whole: so many pieces of content and bytes."""

    pieces: int
    size: int

    def applied(self) -> str:
        """The value of Preference-Applied."""
        return f"whole; pieces={self.pieces}; bytes={self.size}"


class Bringing(Protocol):
    """Has images stored as a whole."""

    async def bring(
        self, repository: Repository, root: Digest, platforms: Collection[Platform], *, fetches: bool
    ) -> Whole | None:
        """How much it is, once all of it is stored; None when that cannot be had, or not soon.

        `fetches`: what is not here may be fetched.
        """


@dataclass(frozen=True, slots=True)
class Preference:
    """That the image be stored as a whole, for these platforms (none: all)."""

    platforms: tuple[Platform, ...]

    @classmethod
    def parse(cls, header: str | None) -> Self | None:
        """Read a Prefer header; None when it says nothing of this, or nothing that can be understood."""
        found = _WHOLE.search(header) if header else None
        if found is None:
            return None
        names = [name for name in (found["platforms"] or "").split(",") if name]
        try:
            return cls(tuple(Platform.parse(name) for name in names[:_MOST_PLATFORMS]))
        except (ValueError, TypeError):
            return None
