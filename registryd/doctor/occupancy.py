"""The program at an address of this machine: a registryd, another program, or none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from registryd.doctor.asking import NotConnected, Question, Unanswered, ask_and_wait
from registryd.doctor.holder import holder_of
from registryd.version import SERVER

if TYPE_CHECKING:
    from registryd.notation import Address

# A registryd answers within milliseconds; one on a node that swaps, later.
_TIMEOUT: Final = 3.0
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Occupant(Enum):
    """`UNKNOWN`: no connection came about, and none was refused."""

    NOBODY = auto()
    REGISTRYD = auto()
    OTHER = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Occupancy:
    """`who` names the program where this is known, `how` says how the question ended."""

    occupant: Occupant
    who: str = ""
    how: str = ""


def occupancy_of(listen: Address) -> Occupancy:
    """Ask there; blocks for some seconds at most. A port is free only if connecting is refused."""
    try:
        answer = ask_and_wait(listen, Question("/v2/", timeout=_TIMEOUT))
    except NotConnected as error:
        if error.is_refused:
            return Occupancy(Occupant.NOBODY, "", str(error))
        # On this machine nothing is in between: the queue of the listener is full, and containerd would wait as well.
        who = holder_of(listen) if listen.host in _LOOPBACK else ""
        return Occupancy(Occupant.OTHER if who else Occupant.UNKNOWN, who, str(error))
    except Unanswered as error:
        return Occupancy(Occupant.OTHER, holder_of(listen) or "another program", str(error))
    if answer.server == SERVER:
        return Occupancy(Occupant.REGISTRYD)
    said = f"it answers with {answer.status}" + (f" as {answer.server[:60]}" if answer.server else "")
    return Occupancy(Occupant.OTHER, holder_of(listen) or "another program", said)
