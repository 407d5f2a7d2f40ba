"""The contract of knowing which names content has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import ContentSource, NameSource

if TYPE_CHECKING:
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository


@dataclass(frozen=True, slots=True)
class Provenance:
    """The repositories that content is known to be of. `is_nobodys`: of none, and nothing in it is to be hidden."""

    repositories: frozenset[Repository] = frozenset()
    is_nobodys: bool = False


class ProvenanceSource(Protocol):
    """A store that knows where its content is from."""

    async def provenance(self, content: Content) -> Provenance:
        """The repositories from which this node got the content, or under which a user put it. Raises StoreUnavailable.

        An image that names content proves nothing: anyone can write a manifest that names foreign content, and
        containerd completes such an image without the content (of another platform, or of a layer that is unpacked
        already).
        """

    def namers(self, digest: Digest) -> frozenset[Repository]:
        """The repositories of images here that name the content, whether or not it is theirs; from memory."""


class NamedStore(ContentSource, NameSource, ProvenanceSource, Protocol):
    """This node's own content and names, and where the content is from; for itself."""
