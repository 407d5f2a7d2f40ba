"""What was measured: the agent's memory, and what an honest member noticed, with and without an attack."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_RESIDENT: Final = 128 << 20
MOST_SLOWER: Final = 3.0
CALM: Final = "nobody attacks"
AFTERWARDS: Final = "half a minute later"
_MIB: Final = 1 << 20
_HUNDREDTHS: Final = 100


@dataclass(frozen=True)
class Find:
    """One answer to an honest member."""

    at: float
    milliseconds: float
    problem: str

    @classmethod
    def parse(cls, line: str) -> Find:
        at, milliseconds, *problem = line.split(maxsplit=2)
        return cls(float(at), float(milliseconds), " ".join(problem))


@dataclass
class Phase:
    """A time in which one thing, or everything, was done to the agent."""

    name: str
    began: float
    ended: float = 0.0
    resident: list[int] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Seconds that the agent has had in all, at each look."""
    pulls: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    finds: list[Find] = field(default_factory=list)

    def take(self, finds: Sequence[Find]) -> None:
        """Those of them that were asked in this time."""
        self.finds = [find for find in finds if self.began <= find.at < self.ended]


@dataclass
class Record:
    """All phases, in order."""

    phases: list[Phase] = field(default_factory=list)
    from_origin: int = 0
    tracebacks: int = 0

    def _finds(self, *, is_calm: bool) -> list[float]:
        return [find.milliseconds for one in self.phases if (one.name == CALM) == is_calm for find in one.finds]

    def table(self) -> list[str]:
        """A line for each attack; the calm times between them are one."""
        heads = (
            "",
            "resident MiB",
            "processor",
            "finds",
            "median ms",
            "ratio",
            "p99 ms",
            "ratio",
            "failed",
            "pulls",
            "median s",
            "failed",
        )
        calm = [phase for phase in self.phases if phase.name == CALM]
        others = [phase for phase in self.phases if phase.name != CALM]
        usual = self._finds(is_calm=True)
        rows = [_row(CALM, calm, usual), *(_row(phase.name, [phase], usual) for phase in others)]
        return [_line(heads), *map(_line, rows)]

    def faults(self) -> list[str]:
        """What is not as it is to be."""
        found = []
        most = max((size for phase in self.phases for size in phase.resident), default=0)
        if most > MOST_RESIDENT:
            found.append(f"the agent had {most / _MIB:.0f} MiB")
        calm = self._finds(is_calm=True)
        for phase in self.phases:
            if phase.name not in {CALM, AFTERWARDS}:
                found += _slower(phase, calm)
        problems = [f"{phase.name}: {find.problem}" for phase in self.phases for find in phase.finds if find.problem]
        if problems:
            found += [f"{count} finds failed: {problem}" for problem, count in Counter(problems).most_common(5)]
        found += [f"{phase.name}: {failure}" for phase in self.phases for failure in phase.failures]
        if self.tracebacks:
            found.append(f"the agent's log has {self.tracebacks} tracebacks")
        return found


def _slower(phase: Phase, calm: Sequence[float]) -> list[str]:
    found = [] if phase.finds else [f"{phase.name}: no find was made"]
    for percent in judged(phase):
        usual = quantile(calm, percent)
        under = quantile([find.milliseconds for find in phase.finds], percent)
        if under > MOST_SLOWER * usual:
            found.append(f"{phase.name}: {percent} % of finds within {under:.1f} ms instead of {usual:.1f}")
    return found


def judged(phase: Phase) -> tuple[int, ...]:
    """Which quantiles mean something: of fewer than a hundred finds the slowest says how busy the machine was once."""
    return (50, 99) if len(phase.finds) >= _HUNDREDTHS else (50,)


def quantile(values: Sequence[float], percent: int) -> float:
    """Below which so many of them are."""
    if len(values) < 2:
        return float(values[0]) if values else 0.0
    return statistics.quantiles(values, n=_HUNDREDTHS)[percent - 1]


def _row(name: str, phases: Sequence[Phase], usual: Sequence[float]) -> tuple[str, ...]:
    finds = [find for phase in phases for find in phase.finds]
    milliseconds = [find.milliseconds for find in finds]
    pulls = [seconds for phase in phases for seconds in phase.pulls]
    return (
        name,
        f"{max((size for phase in phases for size in phase.resident), default=0) / _MIB:.0f}",
        f"{_HUNDREDTHS * _processor(phases):.0f} %",
        str(len(finds)),
        *_beside(milliseconds, usual, 50),
        *_beside(milliseconds, usual, 99),
        str(sum(1 for find in finds if find.problem)),
        str(len(pulls)),
        f"{quantile(pulls, 50):.2f}",
        str(sum(len(phase.failures) for phase in phases)),
    )


def _beside(milliseconds: Sequence[float], usual: Sequence[float], percent: int) -> tuple[str, str]:
    """The quantile, and how many times the usual one it is."""
    found = quantile(milliseconds, percent)
    return f"{found:.1f}", f"{found / (quantile(usual, percent) or 1):.2f}"


def _processor(phases: Sequence[Phase]) -> float:
    """Which part of one the agent had in these times."""
    lasted = sum(phase.ended - phase.began for phase in phases)
    return sum(phase.processor[-1] - phase.processor[0] for phase in phases if phase.processor) / (lasted or 1)


def _line(cells: Sequence[str]) -> str:
    name, *figures = cells
    return f"{name:20}" + "".join(f"{figure:>12}" for figure in figures)
