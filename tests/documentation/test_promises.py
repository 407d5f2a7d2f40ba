"""docs/security.md: what it promises names the tests that hold it, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
# A file or a folder of tests, and a test in it.
NAMED = re.compile(r"`((?:tests|e2e)/[\w/.-]*)(?:::(\w+))?`")
# Alone in a text: a test of any file; its name may be cut off.
ALONE = re.compile(r"`(test_\w+)(…?)`")
# What costs something promises nothing that a test could break; it was measured.
NO_PROMISES = ("**What the check costs a pull.**",)


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs and points of lists, without tables."""
    for block in re.split(r"\n\n|\n(?=\* )", text):
        if block.strip() and not block.lstrip().startswith("|"):
            yield " ".join(block.split())


def promises() -> Iterator[str]:
    for paragraph in paragraphs(section("How it is protected")):
        if not paragraph.startswith(NO_PROMISES) and not paragraph.endswith(":"):
            yield paragraph
    for row in section("Against whom").splitlines()[3:]:
        if row.startswith("| **"):
            yield row.split(" | ")[1]


@pytest.mark.parametrize("promise", list(promises()), ids=lambda text: text[:40])
def test_every_promise_names_its_tests(promise: str) -> None:
    assert NAMED.search(promise) or ALONE.search(promise), promise


def test_there_are_some() -> None:
    assert len(list(promises())) > 20


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(TEXT))))
def test_the_named_tests_exist(path: str, name: str) -> None:
    assert (ROOT / path).exists()
    if name:
        assert re.search(rf"def {name}\(", (ROOT / path).read_text())


@pytest.mark.parametrize(("name", "is_cut"), sorted(set(ALONE.findall(TEXT))))
def test_tests_that_are_named_without_their_file_exist(name: str, is_cut: str) -> None:
    pattern = re.compile(rf"def {name}" + ("" if is_cut else r"\("))
    files = [file for folder in ("tests", "e2e") for file in (ROOT / folder).rglob("test_*.py")]
    assert any(pattern.search(file.read_text()) for file in files)
