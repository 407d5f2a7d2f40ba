"""What is known to fail, each with its reason; a test that passes all the same fails the run, and its line goes.

Nothing else is excused: everything here is seen in the summary as `XFAIL`, with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.versions import Series


@dataclass(frozen=True)
class Known:
    """`tests`: what their names begin with, behind the folder; a regular expression."""

    reason: str
    series: tuple[Series, ...]
    tests: str

    def is_about(self, name: str, series: Series | None) -> bool:
        return series in self.series and bool(re.match(self.tests, name))


KNOWN: Final[tuple[Known, ...]] = ()


def mark(items: Iterable[pytest.Item]) -> None:
    for item in items:
        parameters = getattr(item, "callspec", None)
        series = parameters.params.get("release") if parameters else None
        name = item.nodeid.partition("/")[2]
        for known in KNOWN:
            if known.is_about(name, series):
                item.add_marker(pytest.mark.xfail(reason=known.reason, strict=True))
