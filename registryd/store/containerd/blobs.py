"""The contract of a way to containerd's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.store.containerd.presence import Located
    from registryd.transfer.body import Body

# The first bytes of JSON (RFC 8259: an object, after white space); no other content can be a manifest.
_JSON_BEGINS: Final = frozenset(b"{ \t\r\n")


class Blobs(Protocol):
    """A way to the bytes of content."""

    def lacks(self, digest: Digest) -> bool:
        """Whether it is certain, without asking containerd, that it does not have the content."""

    def changed_at(self) -> float | None:
        """When content came or went the last time, in seconds of the clock; None if unknown. Costs microseconds."""

    async def open(self, located: Located, span: Span) -> Body:
        """The bytes of a span. Raises ContentNotFound, StoreUnavailable."""

    async def read_document(self, digest: Digest, namespace: str) -> bytes | None:
        """All bytes of content that may be a manifest; None for what is too large or does not begin like one.

        Raises ContentNotFound, StoreUnavailable.
        """


def begins_like_json(data: bytes | bytearray) -> bool:
    """Whether the first bytes of content may be those of a JSON object."""
    return bool(data) and data[0] in _JSON_BEGINS
