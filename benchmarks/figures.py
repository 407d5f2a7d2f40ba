"""A figure with the goal that it is held against; tables of them for people, documents for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAME_WIDTH: Final = 58


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a value: at most, or at least, so much."""

    bound: float
    is_ceiling: bool

    def is_reached(self, value: float) -> bool:
        return value <= self.bound if self.is_ceiling else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.is_ceiling else '>='} {self.bound:g}"


def at_most(bound: float) -> Goal:
    return Goal(bound, is_ceiling=True)


def at_least(bound: float) -> Goal:
    return Goal(bound, is_ceiling=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `beside` is what was measured next to it, such as nginx's and our own absolute values."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    beside: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return f"{'ok ' if self.goal.is_reached(self.value) else 'NO '} {self.goal}"

    def row(self) -> str:
        value = f"{self.value:.3g} {self.unit}" if self.value < 100 else f"{self.value:.0f} {self.unit}"
        return f"  {self.name:{_NAME_WIDTH}} {value:>16}   {self.verdict:14} {self.beside}".rstrip()

    def document(self) -> dict[str, object]:
        goal = None if self.goal is None else {"bound": str(self.goal), "reached": self.goal.is_reached(self.value)}
        return {"name": self.name, "value": self.value, "unit": self.unit, "goal": goal, "beside": self.beside}


def show(title: str, figures: Iterable[Figure]) -> list[Figure]:
    """Print each figure as soon as it is there; returns them all."""
    print(f"\n{title}", flush=True)
    shown = []
    for figure in figures:
        print(figure.row(), flush=True)
        shown.append(figure)
    return shown


def missed(figures: Sequence[Figure]) -> list[Figure]:
    """Those that are not as good as they should be."""
    return [figure for figure in figures if figure.goal and not figure.goal.is_reached(figure.value)]
