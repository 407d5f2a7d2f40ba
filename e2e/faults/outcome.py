"""What became of the pulls of a case, and the table of all cases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Pull:
    """A pull that succeeded, sooner or later."""

    seconds: float
    tries: int
    origin_bytes: int = 0  # of blobs, where peers should have had them all

    def __str__(self) -> str:
        tries = f", {self.tries} tries" if self.tries > 1 else ""
        return f"{self.seconds:.1f} s{tries}{', origin' if self.origin_bytes else ''}"


@dataclass(frozen=True)
class Outcome:
    """A case: the fault, who else was there, how long a pull may take, and how it went on each node that pulled."""

    fault: str
    company: str
    limit_seconds: float
    pulls: tuple[tuple[str, Pull], ...]  # by the name of the puller

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**{**fields, "pulls": tuple((name, Pull(**pull)) for name, pull in fields["pulls"])})

    def cell(self, puller: str) -> str:
        """Its pull in a few words; a dash where the case does not apply."""
        return next((str(pull) for name, pull in self.pulls if name == puller), "—")


@dataclass(frozen=True)
class StripedOutcome:
    """A wave in stripes: the fault of one member, and how it went with the others."""

    fault: str
    nodes: int
    limit_seconds: float
    seconds: float  # until the last of the others had the image
    usual_seconds: float  # the same without a fault
    copies: int  # from the origin, of the layer
    own: str  # what became of the member's own pull

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown, one for each case."""
    pullers = _pullers(outcomes)
    lines = [_line("The fault", "another holder", "limit", *pullers), _line(*["---"] * (3 + len(pullers)))]
    for outcome in outcomes:
        cells = [outcome.cell(puller) for puller in pullers]
        lines.append(_line(outcome.fault, outcome.company, f"{outcome.limit_seconds:g} s", *cells))
    return lines


def striped_table(outcomes: Sequence[StripedOutcome]) -> list[str]:
    """Lines of Markdown, one for each wave in stripes."""
    titles = ("A member that passes on a stripe …", "limit", "the last of the others", "without a fault")
    lines = [_line(*titles, "copies from the origin", "its own pull"), _line(*["---"] * (2 + len(titles)))]
    for outcome in outcomes:
        times = outcome.seconds / outcome.usual_seconds
        cells = (f"{outcome.limit_seconds:.0f} s", f"{outcome.seconds:.1f} s, {times:.2f} times")
        lines.append(_line(outcome.fault, *cells, f"{outcome.usual_seconds:.1f} s", str(outcome.copies), outcome.own))
    return lines


def report(outcomes: Sequence[Outcome], striped: Sequence[StripedOutcome]) -> str:
    """The page that is kept: docs/faults.md."""
    today = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"containerd {name}" for name in _pullers(outcomes) if "," not in name)
    first = [_PREFACE.format(date=today, versions=versions), *table(outcomes)]
    return "\n".join([*first, _STRIPES, *striped_table(striped), ""])


def _pullers(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for outcome in outcomes for name, _ in outcome.pulls))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


_PREFACE = """# Faults, and what becomes of a pull

Written by `./dev faults` on {date}; real {versions} pull by CRI through their agents.

Each line is a fault of a peer, of the network or of registryd itself, which happens while containerd pulls an image of
a 6 MiB and a 200 KiB layer. The links have 200 Mbit/s, and the machine has two processors. Every pull succeeds. Each
time includes resolving at the origin and unpacking. The limit is the time that the pull may take. Where a line says
"24 MiB", the larger layer has 24 MiB and comes from several peers at once. "2 tries" is a pull that failed and was made
again, as a kubelet does. Only wrong content that is too large to be verified before it is passed on can cause that, and
a peer can cause it for two contents in a row, or for four that it says to be receiving. "Origin" is a pull that went to
the origin although a peer had everything, because the machine was too busy to keep registryd's time limits, or because
wrong bytes had come from one of several peers. "Parallel" fetches layers in parallel: `concurrent_layer_fetch_buffer`
is 1 MiB. Of these containerds 2.3 and 2.4 are maintained. [scope.md](scope.md#in) says until when.

`lab/faults/characters.py` says what peers with a character do, and `e2e/faults/` what the tests assert.
"""

_STRIPES = """
## A layer in stripes

Eight nodes with containerd 2.4 and mTLS want an image of one layer of 24 MB at once, by links of 40 Mbit/s, and the
layer comes in stripes ([scale.md](scale.md), `peers.stripes_from`; the index node gathers claims for 1.2 s there). A
member goes wrong when it has a MiB of the layer and less than half, and others get a stripe from it. The pull of every
other node succeeds, with the first try where nobody gives wrong bytes. Afterwards no other agent holds more
descriptors, tasks or bytes than before, and no containerd an ingest. "Without a fault" is a wave of the same nodes
before the first fault. A copy from the origin is one request for the layer, or for the rest of it.
"""
