"""Findings of doctor, as people and as programs read them."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.text import Text

from registryd.doctor.finding import Finding, Severity
from registryd.notation import counted

_SIGNS: Final = {Severity.OK: ("✓", "green"), Severity.WARNING: ("!", "yellow"), Severity.PROBLEM: ("✗", "red")}


def print_findings_as_json(findings: Sequence[Finding]) -> None:
    """For programs: docs/operations.md says what is in it."""
    worst = max((finding.severity for finding in findings), key=list(Severity).index, default=Severity.OK)
    document = {"worst": worst, "findings": [asdict(finding) for finding in findings]}
    sys.stdout.write(f"{json.dumps(document, indent=1)}\n")


def print_findings(findings: Sequence[Finding], *, verbose: bool = False, with_summary: bool = True) -> None:
    """A line for each, its remedy below it, and in the end how many there are; `verbose`: with details."""
    console = Console(highlight=False)
    for finding in findings:
        sign, colour = _SIGNS[finding.severity]
        console.print(Text.assemble((sign, colour), f" {finding.name:14} {finding.found}"), soft_wrap=True)
        if verbose and finding.details:
            console.print(Text(f"  {'':14} {finding.details}", style="dim"), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"  {'':14} → {finding.remedy}", style="bold"), soft_wrap=True)
    if with_summary:
        console.print(_summary(findings))


def _summary(findings: Sequence[Finding]) -> str:
    problems = sum(finding.severity is Severity.PROBLEM for finding in findings)
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    if not problems + warnings:
        return "All is well."
    parts = [counted(count, name) for count, name in ((problems, "problem"), (warnings, "warning")) if count]
    return ", ".join(parts) + "."
