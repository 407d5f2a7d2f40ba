"""Files and tests that the documentation names are there: a sentence that says what holds it must not outlive that."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# Where paths in the documentation begin: at the checkout, or at the package or the folder that a page is about.
_BASES = (ROOT, ROOT / "registryd", ROOT / "docs", ROOT / "e2e", ROOT / "tests")
_FILE = re.compile(r"`((?:\w+/)+[\w.-]+\.(?:py|yml|yaml|md|proto|txt|sh))`")
_TEST = re.compile(r"`(test_\w+)(?:\.py)?…?`")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
_TEST_FILES = [path for folder in ("tests", "e2e") for path in (ROOT / folder).rglob("test_*.py")]
_TESTS = {name for path in _TEST_FILES for name in re.findall(r"def (test_\w+)", path.read_text())}
_TESTS |= {path.stem for path in _TEST_FILES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(_FILE.findall(page.read_text()))
    assert {file for file in named if not any((base / file).exists() for base in _BASES)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    """A name may be cut short by an ellipsis."""
    named = set(_TEST.findall(page.read_text()))
    assert {name for name in named if not any(test.startswith(name) for test in _TESTS)} == set()


def test_packages_are_all_in_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "registryd").glob("*/__init__.py")} - {"pb"}
    assert {package for package in packages if not re.search(rf"\b{package}\b", page)} == set()


PACKAGE = ROOT / "registryd"
_ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
_DOTTED = re.compile(rf"(?<![\w./@-])((?:registryd\.)?(?:{'|'.join(_ROOMS)})(?:\.\w+)+)(?![\w-]*/)")
_SETTINGS = set(re.findall(r"`([a-z_]+\.[a-z_0-9]+)`", (ROOT / "docs/settings.md").read_text()))
# Of files of others: `config.json`, `cluster.proto`.
_ENDINGS = {"json", "md", "proto", "py", "toml"}


def test_modules_that_comments_name_are_there() -> None:
    """A module that is moved or renamed is named in comments and docstrings that no import knows of."""
    modules = [path for path in PACKAGE.rglob("*.py") if "pb" not in path.parts]
    named = {(str(path), name) for path in modules for text in _comments(path) for name in _DOTTED.findall(text)}
    assert {(path, name) for path, name in named if not (_is_something_else(name) or _is_there(name))} == set()


def _comments(path: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""')):
            yield token.string


def _is_something_else(name: str) -> bool:
    words = name.removeprefix("registryd.").split(".")
    return ".".join(words[:2]) in _SETTINGS or words[-1] in _ENDINGS


def _is_there(name: str) -> bool:
    """Whether it is a package, a module, or a name in one."""
    place, words = PACKAGE, name.removeprefix("registryd.").split(".")
    while words and (place / words[0]).is_dir():
        place /= words.pop(0)
    if not words:
        return True
    module = place / f"{words.pop(0)}.py"
    return module.is_file() and (not words or re.search(rf"\b{words[0]}\b", module.read_text()) is not None)
