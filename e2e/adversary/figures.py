"""The figures of a run with their goals, as rows of a table that docs/security.md can quote."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.adversary.record import AFTERWARDS, CALM, MOST_RESIDENT, MOST_SLOWER, judged, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from e2e.adversary.record import Phase, Record

_MIB: Final = 1 << 20
PERCENTS: Final = (50, 99)
_NAMES: Final = {50: "median", 99: "99 of 100"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One row; without a goal it is not judged."""

    title: str
    measured: str
    goal: str = ""
    is_kept: bool = True

    def __str__(self) -> str:
        kept = ("yes" if self.is_kept else "**no**") if self.goal else ""
        return f"| {self.title} | {self.goal} | {self.measured} | {kept} |"


def table(record: Record) -> list[str]:
    """The rows, with their heading."""
    return ["| figure | goal | measured | kept |", "| --- | --- | --- | --- |", *map(str, figures(record))]


def figures(record: Record) -> Iterator[Figure]:
    attacks = [phase for phase in record.phases if phase.name not in {CALM, AFTERWARDS}]
    yield from _memory(record.phases)
    calm = [find.milliseconds for phase in record.phases if phase.name == CALM for find in phase.finds]
    for percent in PERCENTS:
        for phase in _told([each for each in attacks if percent in judged(each)], calm, percent):
            yield _slower(phase, calm, percent)
    pulls, failures = sum(len(each.pulls) for each in record.phases), sum(len(each.failures) for each in record.phases)
    yield Figure("pulls that failed", f"{failures} of {pulls + failures}", "none", is_kept=not failures)
    finds = [find for phase in attacks for find in phase.finds]
    failed = sum(1 for find in finds if find.problem)
    yield Figure("finds without an answer under attack", f"{failed} of {len(finds)}", "none", is_kept=not failed)
    yield Figure("layers that came from the origin", str(record.from_origin))
    yield Figure("tracebacks", str(record.tracebacks), "none", is_kept=not record.tracebacks)


def _memory(phases: Sequence[Phase]) -> Iterator[Figure]:
    looked_at = [phase for phase in phases if phase.resident]
    if not looked_at:
        return
    worst = max(looked_at, key=lambda phase: max(phase.resident))
    most, before = max(worst.resident), looked_at[0].resident[0]
    measured = f"{most / _MIB:.0f} MiB ({worst.name}; {before / _MIB:.0f} before the first attack)"
    yield Figure(
        "resident memory at its worst", measured, f"≤ {MOST_RESIDENT / _MIB:.0f} MiB", is_kept=most <= MOST_RESIDENT
    )
    if looked_at[-1].name == AFTERWARDS:
        yield Figure("half a minute after the last attack", f"{looked_at[-1].resident[-1] / _MIB:.0f} MiB")


def _told(attacks: Sequence[Phase], calm: Sequence[float], percent: int) -> list[Phase]:
    """All attacks at once, and the worst one by itself."""
    worst = max(attacks[:-1], key=lambda phase: ratio(phase, calm, percent), default=None)
    return [*attacks[-1:], *([worst] if worst else [])]


def _slower(phase: Phase, calm: Sequence[float], percent: int) -> Figure:
    usual, under = quantile(calm, percent), quantile([find.milliseconds for find in phase.finds], percent)
    times = ratio(phase, calm, percent)
    return Figure(
        f"a find under attack ({phase.name}), {_NAMES[percent]}",
        f"{times:.1f} times ({under:.1f} ms instead of {usual:.1f})",
        f"≤ {MOST_SLOWER:g} times",
        is_kept=times <= MOST_SLOWER,
    )


def ratio(phase: Phase, calm: Sequence[float], percent: int) -> float:
    """How many times as long a find takes as without an attack; infinite if there was none to compare."""
    usual = quantile(calm, percent)
    under = quantile([find.milliseconds for find in phase.finds], percent)
    return under / usual if under and usual else math.inf
