"""Content digests (image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from registryd.oci.errors import DigestInvalid

if TYPE_CHECKING:
    from _hashlib import HASH

    Buffer = bytes | bytearray | memoryview

# The registered algorithms that the image-spec asks implementations for; lengths in hexadecimal digits.
_LENGTHS: Final = {"sha256": 64, "sha512": 128}
ALGORITHMS: Final = tuple(_LENGTHS)
_ALGORITHM_OF_SIZE: Final = {length // 2: algorithm for algorithm, length in _LENGTHS.items()}
_ENCODED: Final = re.compile(r"[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and the lower-case hexadecimal digest: `sha256:ab…`.

    Raises DigestInvalid when the two do not fit together, so a Digest in hand is safe to use as a file name.
    """

    algorithm: str
    encoded: str

    def __post_init__(self) -> None:
        if len(self.encoded) != _LENGTHS.get(self.algorithm) or not _ENCODED.fullmatch(self.encoded):
            raise DigestInvalid(f"{str(self)[:100]!r} is not a digest: expected sha256:<64 hex> or sha512:<128 hex>")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `algorithm:hex`; raises DigestInvalid."""
        algorithm, _, encoded = text.partition(":")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: Buffer, *, algorithm: str = "sha256") -> Self:
        """Compute the digest of these bytes."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @classmethod
    def of_hash(cls, value: bytes) -> Self:
        """The digest whose hash is this: 32 bytes of sha256, 64 of sha512. Raises DigestInvalid for another size."""
        algorithm = _ALGORITHM_OF_SIZE.get(len(value))
        if algorithm is None:
            raise DigestInvalid(f"{len(value)} bytes are the hash of no algorithm: sha256 has 32, sha512 has 64")
        return cls(algorithm, value.hex())

    def hasher(self) -> HASH:
        """A fresh hash object of this digest's algorithm, to be fed and compared with `matches`."""
        return hashlib.new(self.algorithm)

    def matches(self, hasher: HASH) -> bool:
        """Whether the bytes fed to a hasher of this digest's algorithm are the content."""
        return hasher.hexdigest() == self.encoded

    def verifies(self, data: Buffer) -> bool:
        """Whether these bytes are the content."""
        return Digest.of(data, algorithm=self.algorithm) == self

    def __hash__(self) -> int:
        return hash(self.encoded)  # which a string keeps

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"
