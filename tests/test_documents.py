"""The commands that the documents show are commands that the program takes, with flags that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cyclopts.exceptions import MissingArgumentError

from registryd.__main__ import COMMANDS
from registryd.commands.parsing import _app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "charts/registryd/README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Those for a shell have no language here, or are consoles; units of systemd have a command, too.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = {"", "console", "ini"}
# A shell's ends of a command.
ENDS = {"|", ">", "<", "&", "&&", ";", ")"}


def commands_of(document: Path) -> Iterator[tuple[list[str], bool]]:
    """The words after `registryd`, and whether they are a whole command: in a text only a flag may be shown."""
    text = document.read_text()
    for language, block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines() if language in SHELLS else ():
            yield from ((words, True) for words in _words_of(re.sub(r"^[#$] ", "", line)))
    for code in re.findall(r"`(registryd [^`\n]+)`", BLOCK.sub("", text)):
        yield from ((words, False) for words in _words_of(code))


def _words_of(line: str) -> Iterator[list[str]]:
    if "registryd" not in line:
        return
    lexer = shlex.shlex(line.replace("…", ""), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for at, word in enumerate(words[:-1]):
        if Path(word).name == "registryd" and words[at + 1] in COMMANDS:
            rest = words[at + 1 :]
            yield rest[: next((n for n, each in enumerate(rest) if each in ENDS), len(rest))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_shown_can_be_typed(document: Path) -> None:
    for words, is_whole in commands_of(document):
        try:
            _app(COMMANDS).parse_args(words, exit_on_error=False, print_error=False)
        except MissingArgumentError:
            assert not is_whole, words


def test_there_are_some() -> None:
    found = {words[0] for document in DOCUMENTS for words, _ in commands_of(document)}
    assert found >= {
        "agent",
        "cache",
        "install",
        "uninstall",
        "talos",
        "prefetch",
        "verify",
        "export",
        "import",
        "doctor",
    }
