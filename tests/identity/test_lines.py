from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.commands.secret import print_secret
from registryd.identity.errors import SecretInvalid
from registryd.identity.exposure import warn_if_exposed
from registryd.identity.lines import parse_lines, read_lines
from registryd.identity.secret import new_secret

if TYPE_CHECKING:
    from pathlib import Path

_ONE, _TWO = new_secret(), new_secret()


def _parse(text: str) -> tuple[str, ...]:
    return parse_lines(text, name="file", remedy="make one")


def test_lines_in_order_without_comments_blanks_and_repetitions() -> None:
    assert _parse(f"# used\n {_ONE} \r\n\n#{_TWO}\n{_TWO}\n{_ONE}") == (_ONE, _TWO)


@pytest.mark.parametrize(
    "good",
    [secrets.token_hex(16), secrets.token_hex(32), secrets.token_urlsafe(24), new_secret()],
    ids=["hex 16", "hex 32", "base64 24", "ours"],
)
def test_random_ones_of_128_bits_are_enough(good: str) -> None:
    assert _parse(good) == (good,)


@given(st.binary(min_size=16, max_size=16))
def test_only_patterns_are_refused(data: bytes) -> None:
    if len(set(data)) == len(data):
        assert _parse(data.hex())


@pytest.mark.parametrize(
    "bad",
    [
        "changeme",
        "a" * 64,
        "ab" * 32,
        "hunter2" * 9,
        "0123456789abcdef" * 4,
        "0123456789abcdef0123456789abcde",
        _ONE[:20] + " " + _ONE[20:],
        "ü" * 40,
        "x" * 2000,
    ],
    ids=range(9),
)
def test_what_can_be_guessed_is_refused_by_line_and_never_quoted(bad: str) -> None:
    with pytest.raises(SecretInvalid, match="file, line 2: needs at least 32 random") as caught:
        _parse(f"{_ONE}\n{bad}")
    assert bad not in str(caught.value)
    assert str(caught.value).endswith("make one")


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "\n".join(new_secret() for _ in range(9))], ids=range(3))
def test_none_and_too_many(text: str) -> None:
    with pytest.raises(SecretInvalid, match="needs 1 to 8"):
        _parse(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * 20_000)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    for name, problem in {
        "large": "larger",
        "binary": "line",
        "none": "No such file .*make one",
        ".": "Is a directory",
        "pipe": "is a pipe or a device",
    }.items():
        with pytest.raises(SecretInvalid, match=problem):
            read_lines(tmp_path / name, remedy="make one")


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_file_for_everybody_is_worth_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    warn_if_exposed(path)
    assert len(caplog.records) == warnings


def test_the_command_prints_a_secret_that_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    print_secret("new")
    (line,) = _parse(capsys.readouterr().out)
    assert line.startswith("registryd_secret_")
    assert len(line) == len("registryd_secret_") + 43
