"""`registryd prefetch`: a cache, or this node's containerd, is given all images of a list."""

from __future__ import annotations

import sys
import time
from pathlib import Path  # noqa: TC003 - read by the parser of the command line
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from registryd.commands.containerd_socket import containerd_at
from registryd.commands.image_lists import (
    LIST,
    PLATFORM,
    REFERRERS,
    EndpointOptions,
    admin_address,
    opened_client,
    read_lists,
    read_platforms,
    show,
    show_pulled,
    write_report,
)
from registryd.commands.meant import refuse_logins_for_every_pod
from registryd.commands.progress import showing_progress
from registryd.config.agent import ADMIN_ADDRESS
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed
from registryd.inventory.filling import Filler
from registryd.node.host_root import HostRoot
from registryd.notation import parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.pinning import ListPinning
    from registryd.inventory.pulling import Pulled
    from registryd.notation import Address

_CONTAINERD = "containerd"
_INTO = (
    "URL of the cache, such as http://cache.example:3172; or the word containerd: this node's containerd pulls, by its"
    " CRI."
)
_LOGINS = (
    "With --into containerd: Docker's config.json with the logins for the pulls. On Kubernetes every pod of this node "
    "may use the images, because the kubelet has no record of these pulls. There --for-every-pod is needed too."
)
_FOR_EVERY_POD = "With --into containerd: every pod of this node may use the images that are pulled with a login."
_PIN = "With --into containerd: pin the images against the kubelet's garbage collection, until `registryd unpin`."
_UNPIN_OTHERS = "With --pin: unpin the images that this list (--list) pinned before and does not have any more."
_LIST_NAME = "With --pin: name of the list, for a node that gets several lists. Each list unpins only its own images."
_REPORT = "With --into containerd: file for a short report on the images; in a pod, /dev/termination-log."
_SOCKET = "With --into containerd: containerd's gRPC socket. The default is the first socket that the command finds."
_AGENT = (
    "With --into containerd: host:port of the agent's admin port. The agent lets pulls of pods go before these pulls."
)
_PATIENCE = "With a cache: how long to wait, in all, for registries that limit requests (429, Retry-After)."
_PARALLEL = "Number of requests to a cache (default 16), or of containerd's pulls (default 4), at a time."
# A cache is asked for many small things, each of which is synced to its disk; a pull of containerd's is a whole image.
_REQUESTS_AT_ONCE = 16
_PULLS_AT_ONCE = 4


async def prefetch(  # noqa: PLR0913 - the flags of a command
    *,
    images: Annotated[list[str], Parameter(help=LIST, negative=(), allow_leading_hyphen=True)],
    into: Annotated[str, Parameter(help=_INTO)],
    platform: Annotated[list[str] | None, Parameter(help=PLATFORM, negative=())] = None,
    referrers: Annotated[bool, Parameter(help=REFERRERS, negative=())] = False,
    json: Annotated[bool, Parameter(help="Print JSON.", negative=())] = False,
    parallel: Annotated[int | None, Parameter(help=_PARALLEL, validator=validators.Number(gte=1))] = None,
    patience: Annotated[str, Parameter(help=_PATIENCE)] = "1h",
    ca: Annotated[Path | None, Parameter(help="Authorities (PEM) to trust in addition to the system's.")] = None,
    token_file: Annotated[Path | None, Parameter(help="File with the token that the cache asks for.")] = None,
    pin: Annotated[bool, Parameter(help=_PIN, negative=())] = False,
    unpin_others: Annotated[bool, Parameter(help=_UNPIN_OTHERS, negative=())] = False,
    list_: Annotated[str, Parameter(name="--list", help=_LIST_NAME)] = "",
    containerd_socket: Annotated[Path | None, Parameter(help=_SOCKET)] = None,
    agent: Annotated[str, Parameter(help=_AGENT)] = str(ADMIN_ADDRESS),
    docker_config: Annotated[Path | None, Parameter(help=_LOGINS)] = None,
    report: Annotated[Path | None, Parameter(help=_REPORT)] = None,
    for_every_pod: Annotated[bool, Parameter(help=_FOR_EVERY_POD, negative=())] = False,
) -> int:
    """Pull every image of a list that is not there yet; returns 1 when content is missing."""
    if (unpin_others or list_) and not pin:
        raise CommandFailed("--unpin-others and --list go with --pin")
    if into == _CONTAINERD:
        if platform or ca or token_file or referrers:
            raise CommandFailed("--platform, --referrers, --ca and --token-file are for a cache, not for containerd")
        if docker_config and not for_every_pod:
            refuse_logins_for_every_pod(HostRoot())
        wanted = read_lists(images)
        pulled = await _into_containerd(
            wanted,
            containerd_at(containerd_socket),
            docker_config,
            agent=admin_address(agent),
            parallel=parallel or _PULLS_AT_ONCE,
            quiet=json,
            pins_for=list_ if pin else None,
            unpins_others=unpin_others,
        )
        if report:
            write_report(report, pulled)
        return show_pulled(pulled, as_json=json)
    if pin or report:
        raise CommandFailed("--pin and --report are for --into containerd; a cache has cache.pinned")
    if docker_config or for_every_pod:
        raise CommandFailed("--docker-config is for --into containerd; a cache has upstreams.docker_config")
    place = EndpointOptions(url=into, ca=ca, token_file=token_file)
    wanted, platforms, endpoint = read_lists(images), read_platforms(platform or []), place.endpoint()
    async with opened_client() as client:
        with showing_progress("fetching", len(wanted), quiet=json) as progress:
            filler = Filler(
                client,
                endpoint,
                progress,
                platforms=platforms,
                parallel=parallel or _REQUESTS_AT_ONCE,
                patience=_seconds(patience),
                referrers=referrers,
            )
            outcomes = await filler.fill(wanted)
    return show(outcomes, as_json=json)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandFailed(f"--patience: {error}, such as 90s or 1h30m") from error


async def _into_containerd(  # noqa: PLR0913 - the flags that are for it
    wanted: tuple[ImageName, ...],
    socket: Path,
    docker_config: Path | None,
    *,
    agent: Address,
    parallel: int,
    quiet: bool,
    pins_for: str | None,
    unpins_others: bool,
) -> Sequence[Pulled]:
    # Here, because a cache is filled without gRPC.
    from registryd.commands.bringing import BringingPuller  # noqa: PLC0415
    from registryd.inventory.pinning import ListPinning  # noqa: PLC0415
    from registryd.inventory.pulling import pull_all  # noqa: PLC0415
    from registryd.store.containerd.pins import Reason, open_pins  # noqa: PLC0415
    from registryd.store.containerd.pulling import open_puller  # noqa: PLC0415
    from registryd.upstream.docker_config import DockerConfig  # noqa: PLC0415

    try:
        reason = Reason.of_list(pins_for or "")
    except ValueError as error:
        raise CommandFailed(f"--list: {error}") from error
    logins = DockerConfig(docker_config, clock=time.monotonic) if docker_config else None
    async with open_puller(socket) as puller, open_pins(socket) as opened:
        pinning = ListPinning(opened, puller, reason) if pins_for is not None else None
        with showing_progress("pulling", len(wanted), quiet=quiet) as progress:
            outcomes = await pull_all(
                wanted, BringingPuller(puller, agent), progress, logins=logins, parallel=parallel, pinning=pinning
            )
        if pinning and unpins_others:
            await _unpin_others(pinning, wanted)
    return outcomes


async def _unpin_others(pinning: ListPinning, wanted: tuple[ImageName, ...]) -> None:
    try:
        gone = await pinning.let_go_others(wanted)
    except ContentUnavailable as error:
        raise CommandFailed(f"what the list pinned before stays pinned: {error}") from error
    for name in gone:
        sys.stderr.write(f"unpinned {name}\n")
