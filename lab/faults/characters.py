"""The characters of peers: what each does badly, everything else being right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from lab.faults import manners
from lab.faults.manners import honestly

if TYPE_CHECKING:
    from lab.faults.manners import Manner


class Greeting(Enum):
    """What happens to a connection."""

    ANSWERED = "answered"
    REFUSED = "refused"
    IGNORED = "accepted, and never a word"


@dataclass(frozen=True, slots=True)
class Character:
    """A peer with one bad habit; `does` says which, for people.

    `small` and `large` are how it gives content of which the asker takes up to `SMALL_BYTES` at once, or streams more.
    """

    name: str
    does: str
    asked: Greeting = Greeting.ANSWERED  # at the gRPC port
    door: Greeting = Greeting.ANSWERED  # at the bytes port
    small: Manner = honestly
    large: Manner = honestly
    status: int = 0  # of every answer of the bytes door; 0: the right one
    length_lie: int = 0  # added to the Content-Length of the bytes door
    arriving: bool = False  # says of large content that it has half of it and is receiving the rest
    size_lie: int = 0  # added to the size of all large content, wherever it is told
    ponders_seconds: float = 0.0  # before it answers a find


# Later than any other character answers a find, so that a search finds the bad ones first. More would only be slow.
_PONDERS: Final = 0.05
# Under the floor of transfer.resume (256 KiB/s), and far over it but a tenth of what an honest one gives here.
_TRICKLE: Final = 32 * 1024
_SLUGGISH: Final = 600 * 1024
_DRIPPING: Final = 10

_ALL: Final = (
    Character("good", "has it and gives it, and is never the first to say so", ponders_seconds=_PONDERS),
    Character("refuses", "nobody listens", asked=Greeting.REFUSED, door=Greeting.REFUSED),
    Character("silent", "accepts connections, never says a word", asked=Greeting.IGNORED, door=Greeting.IGNORED),
    Character("door-refuses", "has it; nobody listens at the bytes port", door=Greeting.REFUSED),
    Character("mute", "has it; no first byte ever comes", small=manners.never, large=manners.never),
    Character("stalls", "stops in the middle of a blob", large=manners.stalling),
    # Before those that corrupt: what was wrong once is not taken from a node that is receiving it for two minutes.
    Character(
        "drips", "is receiving blobs, as it says; 10 bytes a second", arriving=True, large=manners.at_rate(_DRIPPING)
    ),
    Character("stalls-small", "stops in the middle of a manifest or config", small=manners.stalling),
    Character("resets", "RST in the middle of a blob", large=manners.resetting),
    Character("ends-early", "FIN in the middle of a blob", large=manners.ending_early),
    Character("too-few", "says that blobs are 1000 bytes shorter than they are", size_lie=-1000),
    Character("too-many", "says that blobs are 1000 bytes longer than they are, and adds some", size_lie=1000),
    Character("corrupts-small", "a wrong bit in manifests and configs", small=manners.corrupting),
    Character("corrupts-large", "a wrong bit in blobs", large=manners.corrupting),
    Character("wrong-length", "a Content-Length that is 1000 bytes too short", length_lie=-1000),
    Character("errors", "500, and INTERNAL", status=500, small=manners.failing, large=manners.failing),
    Character("trickles", "32 KiB a second", large=manners.at_rate(_TRICKLE)),
    Character("sluggish", "600 KiB a second: over the floor, far under the others", large=manners.at_rate(_SLUGGISH)),
    Character("dies", "killed (SIGKILL) in the middle of a blob", large=manners.dying),
    Character("vanishes", "its cable is pulled in the middle of a blob", large=manners.vanishing),
)

CHARACTERS: Final = {character.name: character for character in _ALL}
