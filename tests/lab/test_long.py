"""What `./dev test` leaves to `./dev e2e` is variants of tests, never a test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.long import FIRST, LONG
from lab.versions import ALIVE_SERIES

pytestmark = pytest.mark.timeout(300)  # pytest reads a thousand tests: seconds, or a minute on a busy machine

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tests() -> list[str]:
    """All end-to-end tests, by what stands behind the folder."""
    options = ["--ignore=e2e/kubernetes", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "e2e", *options]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=240).stdout
    return [line.removeprefix("e2e/") for line in said.splitlines() if line.startswith("e2e/")]


def is_long(test: str) -> bool:
    return any(re.match(pattern, test) for pattern in LONG)


@pytest.mark.parametrize("pattern", LONG)
def test_each_pattern_is_about_something(tests: list[str], pattern: str) -> None:
    assert any(re.match(pattern, test) for test in tests)


def test_each_test_runs_in_some_variant(tests: list[str]) -> None:
    short = {test.partition("[")[0] for test in tests if not is_long(test)}
    assert len(tests) > 500
    assert {test.partition("[")[0] for test in tests} - short == set()


@pytest.mark.parametrize(("module", "series"), [("", ALIVE_SERIES[-1]), ("test_install.py", "1.7")])
def test_each_test_of_a_containerd_runs_on_the_newest_and_an_install_on_the_one_of_debian(
    tests: list[str], module: str, series: str
) -> None:
    on_it = [test for test in tests if test.startswith(module) and series in re.split(r"[\[\]-]", test)]
    short = {test.partition("[")[0] for test in on_it if not is_long(test)}
    assert len(on_it) > 10
    assert {test.partition("[")[0] for test in on_it} - short == set()


def test_the_modules_that_begin_are_there(tests: list[str]) -> None:
    assert set(FIRST) <= {test.partition("::")[0] for test in tests}
