"""What an operator's file said stays in force while it cannot be read, and that is said once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from registryd.agent.lines_file import LinesFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest


def numbers(lines: Sequence[str]) -> list[int]:
    return [int(line) for line in lines]


def test_what_cannot_be_read_is_complained_of_once_for_each_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    file = LinesFile(path, numbers, most_bytes=20, unreadable="the file cannot be read")
    with caplog.at_level(logging.WARNING):
        assert [file.read(), file.read()] == [None, None]
        path.write_text("1\n2\n")
        assert file.read() == [1, 2]
        path.write_text("1\nx\n")
        assert [file.read(), file.read()] == [None, None]
        path.write_text("1\n" * 11)
        assert file.read() is None
    complaints = [record.getMessage() for record in caplog.records]
    assert ["No such file" in complaints[0], "'x'" in complaints[1], "larger than 20 bytes" in complaints[2]] == [
        True
    ] * 3
    assert len(complaints) == 3


def test_without_a_path_nothing_is_read_or_watched() -> None:
    file = LinesFile(None, numbers, most_bytes=20, unreadable="")
    assert (file.read(), file.paths) == (None, [])


def test_a_named_pipe_is_complained_of_without_waiting_for_a_writer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    file = LinesFile(tmp_path / "pipe", numbers, most_bytes=20, unreadable="the file cannot be read")
    assert file.read() is None
    assert "is a pipe or a device" in caplog.text
