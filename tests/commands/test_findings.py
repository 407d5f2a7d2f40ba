"""Findings as people read them: short lines, and details for those who want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.commands.findings import print_findings
from registryd.doctor.finding import ok, problem

if TYPE_CHECKING:
    import pytest

FINDINGS = [ok("containerd", "2.4.2 answers", "at /run/socket"), problem("peers", "none", "mend it")]


def test_what_is_well_is_a_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(FINDINGS)
    text = capsys.readouterr().out
    assert "2.4.2 answers" in text
    assert "/run/socket" not in text
    assert "mend it" in text


def test_details_are_told_to_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(FINDINGS, verbose=True)
    assert "at /run/socket" in capsys.readouterr().out
