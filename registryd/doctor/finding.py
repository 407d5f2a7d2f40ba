"""The finding of a check."""

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
    """`name` is the subject, `found` the result, `remedy` the advice to the operator, empty when all is well.

    `details` are for operators that look for a cause.
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
