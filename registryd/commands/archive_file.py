"""The file of an archive, or a standard stream in its place."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from registryd.failures import CommandFailed

STANDARD_STREAM: Final = "-"
# The answers of file systems without locks: some of FUSE and CIFS, NFS without its lock service.
_NO_LOCKS: Final = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


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


def is_stream(archive: str) -> bool:
    """Whether what was written there cannot be taken back: standard output, a pipe, a device such as a tape."""
    if archive == STANDARD_STREAM:
        return True
    try:
        mode = Path(archive).stat().st_mode
    except OSError:  # nothing is there yet, or it comes up again when it is opened
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_target(archive: str, store: Path) -> None:
    """Raises CommandFailed where no archive of this store may be written: a terminal, a folder, the store itself."""
    if archive == STANDARD_STREAM:
        _refuse_terminal(sys.stdout.fileno())
        return
    if Path(archive).is_dir():
        raise CommandFailed(f"{archive} is a folder: name a file in it")
    if Path(os.path.realpath(archive)).is_relative_to(os.path.realpath(store)):
        raise CommandFailed(f"{archive} is in the store that is exported: name a file elsewhere")


@contextmanager
def writing_archive(archive: str) -> Iterator[int]:
    """The archive's descriptor; a file has its name only when it is complete. Raises CommandFailed and OSError."""
    with _writing_stream(archive) if is_stream(archive) else _writing_file(archive) as fd:
        yield fd


@contextmanager
def _writing_stream(archive: str) -> Iterator[int]:
    """What is there is written into: a file in the place of /dev/null would harm the whole machine."""
    if archive == STANDARD_STREAM:
        yield sys.stdout.fileno()
        return
    fd = os.open(archive, os.O_WRONLY | os.O_NOCTTY)
    try:
        _refuse_terminal(fd)
        yield fd
        with suppress(OSError):  # pipes have nothing to be synchronized
            os.fsync(fd)
    finally:
        os.close(fd)


def _refuse_terminal(fd: int) -> None:
    if os.isatty(fd):
        raise CommandFailed("the archive would be written to a terminal: redirect it or name a file")


@contextmanager
def _writing_file(archive: str) -> Iterator[int]:
    """Beside the file that a link leads to, so that the link stays one."""
    target = Path(os.path.realpath(archive))
    unfinished = target.with_name(f"{target.name}.partial")
    with _claimed(unfinished) as fd:
        try:
            yield fd
            os.fsync(fd)
            unfinished.replace(target)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise


@contextmanager
def _claimed(path: Path) -> Iterator[int]:
    """The file, empty and nobody else's: two exports in one file would make an archive of neither."""
    with path.open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = True
        if not is_ours:
            raise CommandFailed(f"{path}: another export is writing it")
        file.truncate(0)
        yield file.fileno()
