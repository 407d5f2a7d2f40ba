"""What `verify` and `prefetch` share: their arguments, an endpoint to ask, and how the outcome is shown."""

from __future__ import annotations

import json
import platform
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from registryd.failures import CommandFailed
from registryd.identity.node_token import TOKEN_HEADER
from registryd.inventory.lists import ListInvalid, decode_list, parse_list
from registryd.notation import Address, counted
from registryd.oci.platform import Platform
from registryd.upstream.client import open_client
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.trust import TlsTrust

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.outcome import ImageOutcome
    from registryd.inventory.pulling import Pulled
    from registryd.upstream.client import RegistryClient

REFERRERS = "Include referrers of the images: signatures, attestations, bills of material."
LIST = "List of images: a name a line, or JSON as `kubectl get pods -A -o json` prints it; - is standard input."
PLATFORM = "os/architecture[/variant], or all. Repeat the flag for several. The default is this machine's platform."

_STANDARD_INPUT = "-"
_ALL = "all"
_WIDTH = 240
_FEW = 2
# Of a container's message, at most (terminationMessagePath); all containers of a pod have 12 KiB.
_REPORT_BYTES = 4096
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """The endpoint that is asked, as the command line names it."""

    url: str
    override_path: bool = False
    ca: Path | None = None
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None

    def endpoint(self) -> Endpoint:
        """Raises CommandFailed."""
        try:
            endpoint = Endpoint.parse(self.url, override_path=self.override_path)
            login = Credentials(self.username, _secret(self.password_file)) if self.password_file else None
        except ValueError as error:
            raise CommandFailed(f"{self.url}: {error}") from error
        headers = ((TOKEN_HEADER, _secret(self.token_file)),) if self.token_file else ()
        return replace(endpoint, trust=TlsTrust((self.ca,) if self.ca else ()), credentials=login, headers=headers)


@asynccontextmanager
async def opened_client() -> AsyncIterator[RegistryClient]:
    """A client of registries. Raises CommandFailed."""
    try:
        async with open_client(clock=time.monotonic) as client:
            yield client
    except ValueError as error:
        raise CommandFailed(f"the proxy in the environment cannot be used: {error}") from error


def read_lists(names: Sequence[str]) -> tuple[ImageName, ...]:
    """The images of all lists, each once; `-` is standard input. Raises CommandFailed."""
    images: set[ImageName] = set()
    for name in names:
        try:
            data = sys.stdin.buffer.read() if name == _STANDARD_INPUT else Path(name).read_bytes()
            images.update(parse_list(decode_list(data)))
        except ListInvalid as error:
            raise CommandFailed(f"{name}: {error}") from error
        except OSError as error:
            raise CommandFailed(f"{name} cannot be read: {error.strerror}") from error
    if not images:
        raise CommandFailed(f"{', '.join(names)}: the list names no images")
    return tuple(sorted(images, key=str))


def admin_address(text: str) -> Address:
    """Where the agent of this node is told of pulls (`--agent`). Raises CommandFailed."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise CommandFailed(f"--agent: {error}") from error


def read_platforms(names: Sequence[str]) -> tuple[Platform, ...]:
    """The platforms that are wanted: this machine's unless others are named, none for `all`. Raises CommandFailed."""
    if _ALL in names:
        return ()
    machine = _GO_NAMES.get(platform.machine(), platform.machine())
    try:
        return tuple(Platform.parse(name) for name in names or [f"linux/{machine}"])
    except (ValueError, TypeError) as error:
        raise CommandFailed(f"expected os/architecture[/variant] or all, got {', '.join(names)}") from error


def show(outcomes: Sequence[ImageOutcome], *, as_json: bool) -> int:
    """Print the outcome; returns 0 when nothing is lacking, 1 otherwise."""
    complete = all(outcome.is_complete for outcome in outcomes)
    if as_json:
        sys.stdout.write(json.dumps(_document(outcomes), indent=2) + "\n")
    else:
        incomplete = sum(not outcome.is_complete for outcome in outcomes)
        attached = ["attached"] if any(outcome.attached is not None for outcome in outcomes) else []
        rows = [_row(outcome, with_attached=bool(attached)) for outcome in outcomes]
        _print_rows(("image", "pieces", "size", *attached, "lacking"), rows, incomplete=incomplete)
    return 0 if complete else 1


def show_pulled(outcomes: Sequence[Pulled], *, as_json: bool) -> int:
    """As `show`, for images that a containerd has pulled."""
    if as_json:
        images = [
            {
                "image": str(outcome.image),
                "complete": outcome.is_complete,
                "bytes": outcome.size,
                "was_there": outcome.was_there,
                "pinned": outcome.is_pinned,
                "problem": outcome.problem,
            }
            for outcome in outcomes
        ]
        complete = all(outcome.is_complete for outcome in outcomes)
        sys.stdout.write(json.dumps({"complete": complete, "images": images}, indent=2) + "\n")
    else:
        rows = [(str(each.image), decimal(each.size), each.problem or _became(each)) for each in outcomes]
        _print_rows(("image", "size", "outcome"), rows, incomplete=sum(not each.is_complete for each in outcomes))
    return 0 if all(outcome.is_complete for outcome in outcomes) else 1


def write_report(path: Path, outcomes: Sequence[Pulled]) -> None:
    """What became of the images, in as few bytes as Kubernetes takes for a message. Raises CommandFailed."""
    lacking = [outcome for outcome in outcomes if not outcome.is_complete]
    pinned = sum(outcome.is_pinned for outcome in outcomes)
    head = f"{len(outcomes) - len(lacking)} of {len(outcomes)} images" + (f", {pinned} pinned" if pinned else "")
    lines = [head, *(f"{each.image}: {each.problem}" for each in lacking)]
    try:
        path.write_bytes("\n".join(lines).encode()[:_REPORT_BYTES])
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from error


def _became(outcome: Pulled) -> str:
    return ("was there" if outcome.was_there else "pulled") + (", pinned" if outcome.is_pinned else "")


def _document(outcomes: Sequence[ImageOutcome]) -> object:
    return {
        "complete": all(outcome.is_complete for outcome in outcomes),
        "images": [
            {
                "image": str(outcome.image),
                "complete": outcome.is_complete,
                "pieces": outcome.pieces,
                "bytes": outcome.size,
                **({} if outcome.attached is None else {"attached": outcome.attached}),
                **({"note": outcome.note} if outcome.note else {}),
                "lacking": [{"what": lacking.what, "why": lacking.why} for lacking in outcome.lacking],
            }
            for outcome in outcomes
        ],
    }


def _row(outcome: ImageOutcome, *, with_attached: bool) -> tuple[str, ...]:
    """Every reason once, with the pieces that it is the reason for."""
    pieces: dict[str, list[str]] = {}
    for each in outcome.lacking:
        # The cache's own reason may begin with what was asked for.
        pieces.setdefault(each.why.replace(f"{each.what}: ", ""), []).append(each.what)
    lacking = "\n".join(f"{_few(what)}: {why}" for why, what in pieces.items())
    attached = [str(outcome.attached or "none")] if with_attached else []
    return (
        str(outcome.image),
        str(outcome.pieces),
        decimal(outcome.size),
        *attached,
        lacking or outcome.note or "nothing",
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _FEW else f"{', '.join(names[:_FEW])} and {len(names) - _FEW} more"


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    # Where nobody watches a name should stay in one piece, for grep.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, incomplete: int) -> None:
    print_rows(columns, rows)
    sys.stdout.write(f"{counted(len(rows), 'image')}, {incomplete or 'none'} incomplete\n")


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
