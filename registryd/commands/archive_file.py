"""The file of an archive, or a standard stream in its place."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registryd.failures import CommandFailed

STANDARD_STREAM = "-"


def called(archive: str) -> str:
    """How it is spoken of."""
    return "the standard stream" if archive == STANDARD_STREAM else archive


@contextmanager
def reading_archive(archive: str) -> Iterator[int]:
    """The archive's descriptor. Raises CommandFailed for what is none, OSError for what cannot be opened."""
    if archive == STANDARD_STREAM:
        if sys.stdin.isatty():
            raise CommandFailed("standard input is a terminal: redirect an archive into it or name a file")
        yield sys.stdin.fileno()
        return
    if Path(archive).is_dir():
        raise CommandFailed(
            f"{archive} is a folder; of an OCI layout, `tar -C {archive} -cf - . | registryd import -` takes the images"
        )
    with Path(archive).open("rb", buffering=0) as file:
        yield file.fileno()


def refuse_terminal(archive: str) -> None:
    """Raises CommandFailed when it would be written to one."""
    if archive == STANDARD_STREAM and sys.stdout.isatty():
        raise CommandFailed("standard output is a terminal: redirect it or name a file")


@contextmanager
def writing_archive(archive: str) -> Iterator[int]:
    """The archive's descriptor; a file has its name only when it is complete."""
    if archive == STANDARD_STREAM:
        yield sys.stdout.fileno()
        return
    unfinished = Path(f"{archive}.partial")
    try:
        with unfinished.open("wb", buffering=0) as file:
            yield file.fileno()
            os.fsync(file.fileno())
        unfinished.replace(archive)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
