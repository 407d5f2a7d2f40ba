"""The check that no test leaves something behind, checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

LEAKS = """
import asyncio, os, socket

kept = []

def test_file():
    kept.append(os.open("/dev/null", os.O_RDONLY))

async def test_socket():
    kept.append(socket.socketpair())

async def test_task():
    kept.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

async def test_clean():
    task = asyncio.create_task(asyncio.sleep(0))
    with open("/dev/null") as file, socket.socket():
        await task
"""


def test_every_leak_is_an_error_of_the_test_that_made_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines_random(["*tasks were left*forgotten*", "*open descriptors were left*/dev/null*"])
