"""`registryd import` and `registryd export`: OCI archives into and out of the directory store."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from registryd.commands.archive_file import STANDARD_STREAM, called, is_stream, reading_archive, refuse_target
from registryd.commands.exported import Selection, select, select_all, with_attached, without_attached
from registryd.commands.exporting import write_out
from registryd.commands.image_lists import LIST, REFERRERS, read_lists
from registryd.config.agent import Settings, StoreKind
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed
from registryd.notation import counted
from registryd.oci.errors import OciError
from registryd.oci.reference import DigestedName, FullName, Registry, Repository, looks_like_host, parse_full_name
from registryd.store.archive.contents import Contents
from registryd.store.archive.errors import ArchiveIncomplete, ArchiveInvalid
from registryd.store.archive.reading import Imported, read_archive
from registryd.store.archive.titles import Given
from registryd.store.archive.writing import ArchivePlan, plan_archive
from registryd.store.directory.layout import is_layout
from registryd.store.directory.store import open_directory_store
from registryd.store.socket import is_containerd_at, socket_of

_MIB = 1024 * 1024
_OF_CONTAINERD = "`ctr -n k8s.io images import` and `export`"
_NAME = (
    "Name for an image that has none in the archive: registry/repository:tag; or registry/repository, and the tags of "
    "the archive complete the names."
)


def _archive(about: str) -> Parameter:
    return Parameter(help=about, allow_leading_hyphen=True, validator=_is_no_flag)


def _is_no_flag(_: object, archive: str) -> None:
    if archive.startswith("-") and archive != STANDARD_STREAM:
        raise ValueError(f"there is no flag {archive!r}; --help lists them (a file: ./{archive})")


async def import_archive(
    settings: Settings,
    archive: Annotated[str, _archive("OCI archive: a tar file, gzipped or not. - is standard input.")],
    /,
    *,
    name: Annotated[str | None, Parameter(help=_NAME)] = None,
    referrers: Annotated[bool, Parameter(help=REFERRERS)] = True,
) -> None:
    """Put the images of an OCI archive into the directory store, or raise CommandFailed and leave it as it was."""
    given = None if name is None else _given(name)
    with _complaining(archive), reading_archive(archive) as fd:
        async with open_directory_store(_directory(settings)) as store:
            imported = await read_archive(fd, store, name=given, referrers=referrers)
    _say(sys.stdout, "imported", _lines(imported), imported.contents)
    if imported.unnamed:
        sys.stdout.writelines(f"imported without a name: {target.digest}\n" for target in imported.unnamed)
        sys.stdout.write("--name registry/repository gives them one\n")


async def export_archive(  # noqa: PLR0913 - the flags of a command
    settings: Settings,
    archive: Annotated[str, _archive("File to write. - is standard output.")],
    /,
    *names: Annotated[
        str, Parameter(help="Full names: registry/repository:tag or @digest. The default is all images.")
    ],
    images: Annotated[list[str] | None, Parameter(help=LIST, negative=(), allow_leading_hyphen=True)] = None,
    partly: Annotated[
        bool, Parameter(help="Include images of which some platforms are not stored.", negative=())
    ] = False,
    referrers: Annotated[bool, Parameter(help=REFERRERS, negative=())] = False,
    unnamed: Annotated[bool, Parameter(help="With all images: include manifests without a name.", negative=())] = False,
) -> int:
    """Write images of the directory store into an OCI archive; returns 1 when something had to be left out.

    Raises CommandFailed and leaves no file when there is nothing to write, or it cannot be written.
    """
    wanted = [_full_name(name) for name in names]
    listed = read_lists(images) if images else ()
    directory = _directory(settings)
    refuse_target(archive, directory)
    with _complaining(archive):
        async with open_directory_store(directory) as store:
            selection = await (select(store, wanted, listed) if wanted or listed else select_all(store))
            selection = await (with_attached if referrers else without_attached)(store, selection)
            chosen = partial(plan_archive, store, selection.images, attached=selection.attached, partly=partly)
            besides = selection.unnamed if unnamed else ()
            plan = await write_out(archive, store, lambda damaged: chosen(unnamed=besides, damaged=damaged))
    left_out = _left_out(selection, plan)
    if not plan.images and not plan.unnamed:
        raise CommandFailed("; ".join(left_out[:3]) or "the store has no images to export")
    exported = [*_lines(plan), *(f"{target.digest}" for target in plan.unnamed)]
    _say(sys.stderr if is_stream(archive) else sys.stdout, "exported", exported, plan.contents)
    sys.stderr.writelines(f"note: {line}\n" for line in selection.notes)
    sys.stderr.writelines(f"left out: {line}\n" for line in left_out)
    return 1 if left_out else 0


def _left_out(selection: Selection, plan: ArchivePlan) -> list[str]:
    unnamed = [target for target in selection.unnamed if target not in plan.unnamed]
    return [
        *selection.absent,
        *(f"{name}: {fault}" for name, fault in plan.left_out.items()),
        *(f"{target.digest}: no image name refers to it (--unnamed includes it)" for target in unnamed),
    ]


def _directory(settings: Settings) -> Path:
    """Where the directory store is; whoever's agent serves another store should know."""
    store = settings.store
    if store.kind is StoreKind.CONTAINERD:
        raise CommandFailed(f"the store is containerd's: {_OF_CONTAINERD} are for that")
    is_chosen = store.kind is StoreKind.DIRECTORY or is_layout(store.directory)
    if not is_chosen and is_containerd_at(socket_of(store)):
        sys.stderr.write(
            f"{store.directory} is for a cache, or an agent with store.kind = directory; "
            f"for this node's containerd there are {_OF_CONTAINERD}\n"
        )
    return store.directory


def _full_name(text: str) -> FullName:
    try:
        return parse_full_name(text)
    except OciError as error:
        raise CommandFailed(str(error)) from error


def _given(text: str) -> Given:
    """The name of one image, or the repository of all."""
    host, slash, path = text.partition("/")
    if not slash or ":" in path or "@" in path or not looks_like_host(host):
        return _full_name(text)
    try:
        return Repository(Registry(host), path)
    except OciError as error:
        raise CommandFailed(str(error)) from error


@contextmanager
def _complaining(archive: str) -> Iterator[None]:
    """Everything that can be wrong with an archive, a file or the store, as the one line that the user sees."""
    try:
        yield
    except (ArchiveInvalid, ArchiveIncomplete) as error:
        raise CommandFailed(f"{called(archive)}: {error}") from error
    except ContentUnavailable as error:
        raise CommandFailed(str(error)) from error
    except BrokenPipeError:
        raise  # nobody reads any more: the program has an exit code for that
    except OSError as error:
        raise CommandFailed(f"{error.filename or called(archive)}: {error.strerror or error}") from error


def _lines(what: ArchivePlan | Imported) -> list[str]:
    """One for each image, one for all that is attached to them, one for what is known to have nothing attached."""
    lines = [
        str(name) if isinstance(name, DigestedName) else f"{name} {what.images[name].digest}"
        for name in sorted(what.images, key=str)
    ]
    if attached := len(what.attached) - len(what.bare):
        lines.append(f"their referrers, under {counted(attached, 'name')}")
    if what.bare:
        lines.append(f"the record of {counted(len(what.bare), 'manifest')} without referrers")
    return lines


def _say(out: TextIO, verb: str, images: list[str], contents: Contents) -> None:
    out.writelines(f"{verb} {image}\n" for image in images)
    pieces = counted(len(contents.there), "piece of content", "pieces of content")
    out.write(f"{pieces}, {contents.size / _MIB:.1f} MiB\n")
    if missing := len(contents.missing):
        lacking = counted(missing, "platform or layer", "platforms or layers")
        out.write(f"{lacking} that the images refer to {'was' if missing == 1 else 'were'} not there\n")
