"""`registryd import` and `registryd export`: OCI archives into and out of the directory store."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed
from registryd.oci.descriptor import Descriptor
from registryd.oci.errors import OciError
from registryd.oci.reference import FullName, TaggedName
from registryd.settings import Settings, StoreKind
from registryd.store.archive.contents import Contents
from registryd.store.archive.errors import ArchiveIncomplete, ArchiveInvalid
from registryd.store.archive.reading import read_archive
from registryd.store.archive.writing import write_archive
from registryd.store.directory.durable import write_all
from registryd.store.directory.store import DirectoryStore, open_directory_store
from registryd.store.socket import is_containerd_at, socket_of

_STANDARD_STREAM = "-"
_MIB = 1024 * 1024
_OF_CONTAINERD = "`ctr -n k8s.io images import` and `export`"


def _archive(about: str) -> Parameter:
    return Parameter(help=about, allow_leading_hyphen=True, validator=_is_no_flag)


def _is_no_flag(_: object, archive: str) -> None:
    if archive.startswith("-") and archive != _STANDARD_STREAM:
        raise ValueError(f"there is no flag {archive!r}; --help lists them (a file: ./{archive})")


async def import_archive(
    settings: Settings,
    archive: Annotated[str, _archive("OCI archive, a tar file, gzipped or not; - is standard input.")],
    /,
    *,
    name: Annotated[
        str | None, Parameter(help="Full name of the image, registry/repository:tag, if the archive lacks it.")
    ] = None,
) -> None:
    """Put the images of an OCI archive into the directory store, or raise CommandFailed and leave it as it was."""
    wanted = None if name is None else _full_name(name)
    with _complaining(archive), _reading(archive) as fd:
        async with open_directory_store(_directory(settings)) as store:
            imported = await read_archive(fd, store, name=wanted)
    _say(sys.stdout, "imported", imported.images, imported.contents)


async def export_archive(
    settings: Settings,
    archive: Annotated[str, _archive("File to write; - is standard output.")],
    /,
    *images: Annotated[str, Parameter(help="Full names, registry/repository:tag. None: all there are.")],
    partly: Annotated[
        bool, Parameter(help="Also images of which the store lacks some platforms.", negative=())
    ] = False,
) -> None:
    """Write images of the directory store into an OCI archive, or raise CommandFailed and leave no file."""
    names = [_full_name(image) for image in images]
    with _complaining(archive):
        async with open_directory_store(_directory(settings)) as store:
            chosen = await _choose(store, names)
            with _writing(archive) as fd:
                contents = await write_archive(partial(write_all, fd), store, chosen, partly=partly)
    _say(sys.stderr if archive == _STANDARD_STREAM else sys.stdout, "exported", chosen, contents)


async def _choose(store: DirectoryStore, names: Sequence[TaggedName]) -> dict[FullName, Descriptor]:
    chosen = {}
    for name in names or await store.names():
        known = await store.resolve(name)
        if not known:
            raise CommandFailed(f"{name} is not in the store")
        chosen[name] = max(known, key=lambda meaning: meaning.seen_at).target
    if not chosen:
        raise CommandFailed("the store has no images to export")
    return chosen


def _directory(settings: Settings) -> Path:
    """Where the directory store is; whoever's agent serves another store should know."""
    store = settings.store
    if store.kind is StoreKind.CONTAINERD:
        raise CommandFailed(f"the store is containerd's: {_OF_CONTAINERD} are for that")
    if store.kind is StoreKind.AUTO and is_containerd_at(socket_of(store)):
        sys.stderr.write(
            f"{store.directory} is for a cache, or an agent with store.kind = directory; "
            f"for this node's containerd there are {_OF_CONTAINERD}\n"
        )
    return store.directory


def _full_name(text: str) -> TaggedName:
    try:
        return TaggedName.parse(text)
    except OciError as error:
        raise CommandFailed(str(error)) from error


@contextmanager
def _complaining(archive: str) -> Iterator[None]:
    """Everything that can be wrong with an archive, a file or the store, as the one line that the user sees."""
    try:
        yield
    except (ArchiveInvalid, ArchiveIncomplete) as error:
        raise CommandFailed(f"{_called(archive)}: {error}") from error
    except ContentUnavailable as error:
        raise CommandFailed(str(error)) from error
    except BrokenPipeError:
        raise  # nobody reads any more: the program has an exit code for that
    except OSError as error:
        raise CommandFailed(f"{error.filename or _called(archive)}: {error.strerror or error}") from error


def _called(archive: str) -> str:
    return "the standard stream" if archive == _STANDARD_STREAM else archive


@contextmanager
def _reading(archive: str) -> Iterator[int]:
    if archive == _STANDARD_STREAM:
        if sys.stdin.isatty():
            raise CommandFailed("standard input is a terminal: redirect an archive into it or name a file")
        yield sys.stdin.fileno()
        return
    with Path(archive).open("rb", buffering=0) as file:
        yield file.fileno()


@contextmanager
def _writing(archive: str) -> Iterator[int]:
    """The archive's descriptor; a file has its name only when it is complete."""
    if archive == _STANDARD_STREAM:
        if sys.stdout.isatty():
            raise CommandFailed("standard output is a terminal: redirect it or name a file")
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


def _say(out: TextIO, verb: str, images: Mapping[FullName, Descriptor], contents: Contents) -> None:
    out.writelines(f"{verb} {name} {target.digest}\n" for name, target in sorted(images.items(), key=str))
    out.write(f"{len(contents.there)} pieces of content, {contents.size / _MIB:.1f} MiB\n")
    if contents.missing:
        out.write(f"{len(contents.missing)} platforms or layers that the images refer to were not there\n")
