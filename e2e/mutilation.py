"""Sound input with something wrong in it, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

# What breaks things that were made for other things.
_BITS: Final[Sequence[bytes]] = (
    *(b"", b"\0", b"\n", b"\r\n", b" ", b"/", b"//", b"..", b":", b"@", b",", b";", b"=", b'"', b"%2f", b"%00", b"?"),
    *(
        b"-1",
        b"0",
        b"18446744073709551616",
        b"1e999",
        b"NaN",
        b"null",
        b"[]",
        b"{}",
        b"[[[[[[",
        b"\xff\xfe",
        b"\xc3\xa9",
    ),
    *(
        b"sha256:",
        b"sha512:",
        b"bytes=",
        b"application/vnd.oci.image.index.v1+json",
        b"a" * 300,
        b"\x80\x80\x80\x80\x08",
    ),
)


@dataclass
class Record:
    """What was found, and how much was tried."""

    tried: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, given: bytes) -> None:
        self.faults.append(f"{what}: {given[:200]!r}")


def mutilated(sound: bytes, chance: random.Random) -> bytes:
    """The input with one to four things wrong."""
    data = bytearray(sound)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.choice(_BITS)
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                data[at:at] = data[at : at + chance.randrange(1, 40)]
            case 4:
                del data[at:]
            case _:
                data[at : at + chance.randrange(1, 9)] = chance.choice(_BITS)
    return bytes(data)
