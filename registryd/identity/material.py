"""The key material of a TLS connection between members, from whatever authority."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """A certificate with its chain, its key, and the authorities whose certificates are accepted; all PEM."""

    chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    roots: bytes = field(repr=False)
    name: str
    """The DNS name that the certificate of every member carries."""

    def as_texts(self) -> dict[str, str]:
        """For another process of this node."""
        pem = {"chain": self.chain, "private_key": self.private_key, "roots": self.roots}
        return {"name": self.name} | {name: value.decode("ascii") for name, value in pem.items()}

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> TlsMaterial:
        """The material from the texts of `as_texts`."""
        chain, private_key, roots = (texts[name].encode() for name in ("chain", "private_key", "roots"))
        return cls(chain, private_key, roots, texts["name"])


class MaterialSource(Protocol):
    """Where the material comes from."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files that it is made from, to be watched."""

    @property
    def private_path(self) -> Path:
        """The private one of these files, which no other user may read."""

    def load(self) -> TlsMaterial:
        """The material to use from now on: equal to what it was before while that is still right.

        Raises IdentityError when it cannot be made; what was loaded before stays usable.
        """
