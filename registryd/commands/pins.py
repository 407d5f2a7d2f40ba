"""`registryd pins` and `registryd unpin`: what containerd keeps from the kubelet here, and letting it go."""

import json as json_text
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from registryd.commands.containerd_socket import SOCKET, containerd_at
from registryd.commands.image_lists import LIST, print_rows, read_lists
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed, UsageError

_MATCH = "Patterns of full names or repositories, such as ghcr.io/corp/*. Quote them."
_REASONS = {"list": "a list (prefetch --pin)", "copies": "copies of the cluster (images.keep)"}
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
    told = [(each.record, {reason.value: sorted(names) for reason, names in each.names.items()}) for each in found]
    if json:
        images = [{"image": record, "pinned_for": names} for record, names in told]
        sys.stdout.write(json_text.dumps({"images": images}, indent=2) + "\n")
        return
    rows = [row for record, names in told for row in _rows(record, names)]
    print_rows(("image", "pinned by", "for"), rows)


def _rows(record: str, names: Mapping[str, Sequence[str]]) -> list[tuple[str, str, str]]:
    if not names:
        return [(record, _OTHERS, "")]
    return [(record, _REASONS[reason], ", ".join(of_it)) for reason, of_it in names.items()]


async def unpin(
    *,
    images: Annotated[list[str] | None, Parameter(help=LIST, negative=(), allow_leading_hyphen=True)] = None,
    match: Annotated[list[str] | None, Parameter(help=_MATCH, negative=())] = None,
    all_: Annotated[bool, Parameter(name="--all", help="All images that lists have pinned.", negative=())] = False,
    containerd_socket: Annotated[Path | None, Parameter(help=SOCKET)] = None,
) -> None:
    """Unpin images that lists have pinned, so that the kubelet may remove them. Other programs' pins stay."""
    from registryd.inventory.pinning import let_go, listed, matching  # noqa: PLC0415
    from registryd.store.containerd.pins import open_pins  # noqa: PLC0415

    if not (images or match or all_):
        raise UsageError("name the images to unpin: --images LIST, --match PATTERN or --all")
    named = {str(image.pull_name) for image in read_lists(images)} if images else set()
    try:
        async with open_pins(containerd_at(containerd_socket)) as opened:
            covered = matching(listed(await opened.all()), ["*"] if all_ else match or ())
            gone = await let_go(opened, named | covered)
    except ContentUnavailable as error:
        raise CommandFailed(str(error)) from error
    for name in gone:
        sys.stdout.write(f"unpinned {name}\n")
    sys.stdout.write(f"{len(gone)} image{'' if len(gone) == 1 else 's'} let go\n")
