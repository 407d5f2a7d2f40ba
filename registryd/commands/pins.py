"""`registryd pins` and `registryd unpin`: what containerd keeps from the kubelet here, and letting it go."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from registryd.commands.containerd_socket import SOCKET, containerd_at
from registryd.commands.image_lists import LIST, print_rows, read_lists
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed, UsageError
from registryd.notation import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from registryd.config.name_patterns import NamePattern
    from registryd.store.containerd.pins import PinnedImage, Reason

_MATCH = "Patterns of full names or repositories, such as ghcr.io/corp/*. Quote them."
_COPIES = "copies of the cluster (images.keep)"
_LIST = "Unpin only what the list of this name has pinned (`registryd prefetch --list`)."
_OTHERS = "another program, or containerd's configuration"


async def pins(
    *,
    json: Annotated[bool, Parameter(help="Print JSON.", negative=())] = False,
    containerd_socket: Annotated[Path | None, Parameter(help=SOCKET)] = None,
) -> None:
    """Show the images that are pinned on this node, and what each is pinned for."""
    # Here, because no other command of the sort needs gRPC to be parsed.
    from registryd.store.containerd.pins import open_pins  # noqa: PLC0415

    try:
        async with open_pins(containerd_at(containerd_socket)) as opened:
            found = await opened.all()
    except ContentUnavailable as error:
        raise CommandFailed(str(error)) from error
    if json:
        images = [
            {
                "image": each.record,
                "pinned_for": {reason.value: sorted(names) for reason, names in each.names.items()},
            }
            for each in found
        ]
        sys.stdout.write(json_text.dumps({"images": images}, indent=2) + "\n")
        return
    if not found:
        sys.stdout.write("no image of this node is pinned\n")
        return
    print_rows(("image", "pinned by", "for"), [row for each in found for row in _rows(each)])


def _rows(pinned: "PinnedImage") -> list[tuple[str, str, str]]:
    if not pinned.names:
        return [(pinned.record, _OTHERS, "")]
    return [(pinned.record, _told(reason), ", ".join(sorted(names))) for reason, names in pinned.names.items()]


def _told(reason: "Reason") -> str:
    if not reason.is_list:
        return _COPIES
    return f"the list {reason.list_name} (prefetch --pin)" if reason.list_name else "a list (prefetch --pin)"


async def unpin(
    *,
    images: Annotated[list[str] | None, Parameter(help=LIST, negative=(), allow_leading_hyphen=True)] = None,
    match: Annotated[list[str] | None, Parameter(help=_MATCH, negative=())] = None,
    all_: Annotated[bool, Parameter(name="--all", help="All images that lists have pinned.", negative=())] = False,
    list_: Annotated[str | None, Parameter(name="--list", help=_LIST)] = None,
    containerd_socket: Annotated[Path | None, Parameter(help=SOCKET)] = None,
) -> None:
    """Unpin images that lists have pinned, so that the kubelet may remove them. Other programs' pins stay."""
    from registryd.inventory.pinning import let_go, listed  # noqa: PLC0415
    from registryd.store.containerd.pins import open_pins  # noqa: PLC0415

    if not (images or match or all_):
        whose = f" (--all: whatever the list {list_} has pinned)" if list_ else ""
        raise UsageError(f"name the images to unpin: --images LIST, --match PATTERN or --all{whose}")
    patterns = _patterns(match or ())
    named = {str(image.pull_name) for image in read_lists(images)} if images else set()
    try:
        async with open_pins(containerd_at(containerd_socket)) as opened:
            pinned = listed(await opened.all(), list_)
            names = frozenset().union(*pinned.values())
            covered = names if all_ else _matching(names, patterns)
            gone = await let_go(opened, (named & names) | covered, pinned)
    except ContentUnavailable as error:
        raise CommandFailed(str(error)) from error
    for name in gone:
        sys.stdout.write(f"unpinned {name}\n")
    sys.stdout.write(f"{counted(len(gone), 'image')} let go\n")


def _patterns(texts: "Iterable[str]") -> "list[NamePattern]":
    """Raises UsageError for a pattern that matches no name: it would unpin nothing, and nobody would notice."""
    from registryd.config.name_patterns import NamePattern  # noqa: PLC0415

    try:
        return [NamePattern.parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"--match: {error}") from error


def _matching(names: "Collection[str]", patterns: "Collection[NamePattern]") -> frozenset[str]:
    """Those that one of the patterns covers: all of a name, or its repository."""
    return frozenset(name for name in names if any(each.matches(name, _repository_of(name)) for each in patterns))


def _repository_of(name: str) -> str:
    head, slash, last = name.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
