"""What a check found out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """`warning`: it works, and not as well as it could. `problem`: something that should work does not."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is what was looked at, `found` what was seen there; `remedy` what to do, empty when all is well.

    `details` is what only those want to read who look for something.
    """

    name: str
    severity: Severity
    found: str
    remedy: str = ""
    details: str = ""


def ok(name: str, found: str, details: str = "") -> Finding:
    return Finding(name, Severity.OK, found, details=details)


def warning(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Severity.WARNING, found, remedy)


def problem(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Severity.PROBLEM, found, remedy)
