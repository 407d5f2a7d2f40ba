"""`registryd status`: the cluster as this node's agent sees it."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table

from registryd.commands.settings_flags import takes_settings
from registryd.commands.status_whole import brief, clock, name_of, whole
from registryd.config.agent import Settings
from registryd.doctor.asking import Unanswered, ask_json
from registryd.failures import CommandFailed

_WATCH_SECONDS: Final = 2.0
# The agent asks its members for two seconds at most.
_TIMEOUT: Final = 5.0
_SHOWN_TRANSFERS: Final = 15
_WIDTH: Final = 160
# As registryd.cluster.copies has them, the worst first.
_COPY_STATES: Final = ("alone", "few", "taking", "unknown", "enough")


@takes_settings("admin")
async def status(
    settings: Settings,
    *,
    watch: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show the members, versions, content and transfers of the cluster, as this node's agent sees them.

    Args:
        settings: The address of the agent's admin port.
        watch: Refresh the tables every two seconds, until Ctrl-C.
        json: Print the status as JSON, once.
    """
    if json:
        _print_json(await _ask(settings))
    elif watch:
        await _watch(settings)
    else:
        # Where nobody watches (`kubectl exec`, a pipe) an address should stay in one piece.
        width = None if sys.stdout.isatty() else _WIDTH
        Console(highlight=False, width=width).print(_shown(await _ask(settings)))


async def _watch(settings: Settings) -> None:
    with Live(_shown(await _ask(settings)), screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            live.update(_shown(await _ask(settings)), refresh=True)


async def _ask(settings: Settings) -> dict[str, Any]:
    """This agent's status, and the members' own words. Raises CommandFailed."""
    listen = settings.admin.listen
    try:
        async with asyncio.TaskGroup() as group:
            own = group.create_task(ask_json(listen, "/status", timeout=_TIMEOUT), name="status")
            cluster = group.create_task(ask_json(listen, "/cluster", timeout=_TIMEOUT), name="cluster")
    except ExceptionGroup as failures:
        # Not by except*: Python before 3.11.4 wraps what is raised there in a group again.
        unanswered, others = failures.split(Unanswered)
        if others or unanswered is None:
            raise
        reason = f"no agent answers at {listen}: {unanswered.exceptions[0]}; `registryd doctor` tells more"
        raise CommandFailed(reason) from None
    told = cluster.result()
    # An agent of an older version tells no more than its members.
    more: dict[str, Any] = {name: told[name] for name in ("view", "own_host") if name in told}
    return {**own.result(), **more, "cluster": told["members"]}


def _print_json(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(answer, indent=1)}\n")


def _shown(answer: Mapping[str, Any]) -> Group:
    copies = answer.get("copies") or []  # an agent of an older version says nothing of them
    transfers = answer["transfers"]
    has_any = transfers["running"] or transfers["recent"]
    return Group(
        *whole(answer),
        _members(answer),
        *([_copies(copies)] if copies else []),
        *([_transfers(transfers)] if has_any else []),
    )


def _copies(copies: Sequence[Mapping[str, Any]]) -> Table:
    """What this node keeps for the cluster; what only it keeps comes first."""
    title = "Copies that this node keeps (images.keep)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("image", "state", "kept on"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right")
    for each in sorted(copies, key=lambda copy: _COPY_STATES.index(copy["state"])):
        table.add_row(each["image"], each["state"], _kept_on(len(each["nodes"]), each["wanted"]), decimal(each["size"]))
    return table


def _kept_on(nodes: int, wanted: int) -> str:
    """Not nodes of the cluster, as where the images' spread is told; for a while there may be more than are wanted."""
    if not nodes:
        return ""
    return f"{nodes} of {wanted} wanted" if nodes <= wanted else f"{nodes}, {wanted} wanted"


def _members(answer: Mapping[str, Any]) -> Table:
    table = Table(title="Members", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("node", "address", "state"):
        # A reason is read at a glance: only between its words it may be broken.
        table.add_column(name, overflow="fold", no_wrap=name == "address", min_width=8 if name == "state" else None)
    node = answer["node"]
    # Where nobody knows zones the column would be empty.
    has_zones = any(each.get("zone") for each in (node, *(member["vitals"] or {} for member in answer["cluster"])))
    if has_zones:
        table.add_column("zone", overflow="fold")
    table.add_column("version", overflow="fold")
    for name in ("images", "transfers", "from peers", "to peers", "hits", "up"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_row(node["name"], "this node", node["problem"] or "ready", *_told(node, has_zones=has_zones))
    for member in answer["cluster"]:
        vitals = member["vitals"]
        name = name_of(member)
        state = _state(member)
        told = _told(vitals, has_zones=has_zones) if vitals else []
        table.add_row(name, member["address"], (vitals and vitals["problem"]) or state, *told)
    return table


def _state(member: Mapping[str, Any]) -> str:
    """What this node takes the member for, why and since when."""
    if member["state"] == "set aside":
        return f"{member['reason']}, since {clock(member['since'])}"
    return f"{member['state']}: {member['problem'][:60]}" if member["problem"] else str(member["state"])


def _told(vitals: Mapping[str, Any], *, has_zones: bool) -> list[str]:
    hits = f"{100 * vitals['hits'] / vitals['requests']:.0f} %" if vitals["requests"] else "-"
    return [
        # An agent of another version may not tell it.
        *([vitals.get("zone") or "-"] if has_zones else []),
        vitals["version"],
        str(vitals["images"]),
        str(vitals["transfers"]),
        decimal(vitals["received_bytes"]),
        decimal(vitals["sent_bytes"]),
        hits,
        _duration(vitals["up_seconds"]),
    ]


def _transfers(transfers: Mapping[str, Any]) -> Table:
    table = Table(title="Transfers", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("content", "from", "to"):
        table.add_column(name, overflow="fold")
    for name in ("sent", "of", "state"):
        table.add_column(name, justify="right")
    for transfer in [*transfers["running"], *transfers["recent"]][:_SHOWN_TRANSFERS]:
        name = brief(transfer["name"] or transfer["digest"])
        sizes = decimal(transfer["sent"]), decimal(transfer["size"])
        table.add_row(name, transfer["source"], transfer["receiver"], *sizes, transfer["outcome"])
    return table


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
