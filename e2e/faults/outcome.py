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


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown, one for each case."""
    pullers = _pullers(outcomes)
    lines = [_line("The fault", "another holder", "limit", *pullers), _line(*["---"] * (3 + len(pullers)))]
    for outcome in outcomes:
        cells = [outcome.cell(puller) for puller in pullers]
        lines.append(_line(outcome.fault, outcome.company, f"{outcome.limit_seconds:g} s", *cells))
    return lines


def report(outcomes: Sequence[Outcome]) -> str:
    """The page that is kept: docs/faults.md."""
    today = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"containerd {name}" for name in _pullers(outcomes) if "," not in name)
    return "\n".join([_PREFACE.format(date=today, versions=versions), *table(outcomes), ""])


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
each peer that gives such content can cause it only once. "Origin" is a pull that went to the origin although a peer had
everything, because the machine was too busy to keep registryd's time limits, or because wrong bytes had come from one
of several peers. "Parallel" fetches layers in parallel: `concurrent_layer_fetch_buffer` is 1 MiB. Of these containerds
2.3 and 2.4 are maintained. [scope.md](scope.md#in) says until when.

`lab/faults/characters.py` says what peers with a character do, and `e2e/faults/` what the tests assert.
"""
