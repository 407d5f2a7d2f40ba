"""What `registryd status` shows of the cluster as a whole, as the page does: problems, who feeds whom, savings."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

# Word for word as on the page (serving/dashboard.html).
REMEDIES: Final = {
    "refused": "Its host is there, its agent is not: start it, and look at its log.",
    "no answer": "Is the node up? Does a firewall drop port 3173?",
    "another secret": "It and this node need the same peers.secret_file, the cluster's.",
    "clock": "Mend the clocks (NTP).",
    "no route": "Look at the network between the nodes.",
    "its name is not found": "Look at the name server.",
    "no TLS": "Is it an agent, and without peers.insecure?",
    "hung up": "Look at its log: it does not take this node's certificate.",
    "nonsense": "Is it an agent of this version?",
}
# Of a trouble that most members show, which is this node's.
OWN_REMEDIES: Final = {
    "refused": "Do their agents run? Is the port of the peers right in this node's discovery?",
    "no answer": "Look at this node's network: does a firewall drop port 3173?",
    "another secret": "It is this node that has another one: give it the cluster's peers.secret_file.",
    "clock": "Mend this node's clock (NTP).",
    "no route": "Look at this node's network.",
    "its name is not found": "Look at this node's name server.",
    "no TLS": "Do they have peers.insecure? This node has not.",
    "hung up": "They do not take this node's certificate: give it the cluster's peers.secret_file.",
    "nonsense": "Is this node's agent of their version?",
}
_MORE: Final = "registryd doctor tells more."
_SHOWN: Final = 8
_SHOWN_IMAGES: Final = 15
_SHOWN_PULLS: Final = 10
_BARS: Final = " ▁▂▃▄▅▆▇█"
_WIDTH: Final = 20
# Twelve digits tell contents apart for people, as docker and crictl show them; --json has them all.
_DIGEST: Final = re.compile(r"(sha\d+:[0-9a-f]{12})[0-9a-f]+")


def brief(text: str) -> str:
    return _DIGEST.sub(r"\1", text)


def whole(answer: Mapping[str, Any]) -> list[RenderableType]:
    """Problems first; nothing of what there is nothing to say of."""
    view, names = answer.get("view") or {}, names_of(answer)
    parts: list[RenderableType] = [Text(f"! {line}") for line in problems(answer, names)]
    if view.get("hours"):
        parts.append(Text(_saved(view["hours"])))
    parts += _trees(view.get("flows", ()), names)
    if view.get("spread"):
        parts.append(_spread(view))
    pulls = answer.get("pulls") or {"running": (), "recent": ()}
    if pulls["running"] or pulls["recent"]:
        parts.append(_pulls(pulls))
    return parts


def names_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """What nodes are called, by their hosts."""
    names = {_host(member["address"]): name for member in answer["cluster"] if (name := name_of(member))}
    return {**names, answer.get("own_host", ""): answer["node"]["name"]}


def name_of(member: Mapping[str, Any]) -> str:
    """What it is called, or was when it last answered; an agent of an older version does not remember."""
    return str(member["vitals"]["name"] if member["vitals"] else member.get("name", ""))


def problems(answer: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What is wrong and what to do, one line each."""
    node = answer["node"]
    if node["problem"]:
        yield f"this node: {_ended(node['problem'])} Pulls go on without it; {_MORE}"
    yield from _asides(answer, names)
    for member in answer["cluster"]:
        vitals = member["vitals"]
        if vitals and vitals["problem"]:
            yield f"{vitals['name']}: {_ended(vitals['problem'])} registryd doctor there tells more."
    versions = {node["version"], *(each["vitals"]["version"] for each in answer["cluster"] if each["vitals"])}
    if len(versions) > 1:
        yield f"agents of {len(versions)} versions: {', '.join(sorted(versions))}. An update that has stopped?"
    if not answer["cluster"]:
        yield f"no other members are known. Look at the settings of discovery; {_MORE}"
    if not answer.get("doors", {}).get("is_secured", True):
        yield "whoever reaches the peers' ports may fetch this node's images. Give all nodes a peers.secret_file."
    alone = (answer.get("view") or {}).get("alone", ())
    if alone and answer["cluster"]:
        where = ", ".join(f"{names.get(each['host'], each['host'])} ({each['images']})" for each in alone[:_SHOWN])
        yield f"images that only one node has: {where}. When that node goes, the origin is asked again."


def _ended(text: str) -> str:
    """As a sentence: a problem may be a question."""
    return text if text.endswith(("?", "!", ".")) else f"{text}."


def _asides(answer: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Members that are set aside: one line for this node's own trouble, and one for each of the others."""
    own = answer.get("own_trouble")  # an agent of an older version does not know
    if own:
        found = f"this node and {own['members']} of {own['of']} members: {own['reason']}, since {clock(own['since'])}"
        yield f"{found}. {OWN_REMEDIES.get(own['reason'], _MORE)}"
    aside = [member for member in answer["cluster"] if member["state"] == "set aside"]
    if own:
        aside = [member for member in aside if member["reason"] != own["reason"]]
    for member in aside[:_SHOWN]:
        who = names.get(_host(member["address"]), member["address"])
        yield f"{who}: {member['reason']}, since {clock(member['since'])}. {REMEDIES.get(member['reason'], _MORE)}"
    if len(aside) > _SHOWN:
        yield f"{len(aside) - _SHOWN} more members are set aside."


def clock(moment: float) -> str:
    """With its date when that is not today's."""
    at = time.localtime(moment)
    is_today = at[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if is_today else "%d %b %H:%M", at)


def _saved(hours: Sequence[Mapping[str, int]]) -> str:
    spared, elsewhere = (sum(hour[name] for hour in hours) for name in ("spared", "elsewhere"))
    most = max(hour["spared"] for hour in hours)
    line = "".join(_BARS[round(8 * hour["spared"] / most) if most else 0] for hour in reversed(hours))
    share = f", {100 * spared / (spared + elsewhere):.0f} % of all" if spared + elsewhere else ""
    count = f"{len(hours)} h" if len(hours) > 1 else "this hour"
    return f"Saved  [{line}]  {decimal(spared)} in {count}{share}; {decimal(elsewhere)} from elsewhere"


def _trees(flows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[RenderableType]:
    labels = list(dict.fromkeys(flow["label"] for flow in flows))
    for label in labels[:_SHOWN]:
        edges = [flow for flow in flows if flow["label"] == label]
        yield _tree(edges, names)


def _tree(edges: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Tree:
    seen: set[str] = set()

    def grow(branch: Tree, source: str) -> None:
        for edge in edges:
            receiver = edge["receiver"]
            if edge["source"] != source or receiver in seen:
                continue
            seen.add(receiver)
            share = edge["sent"] / edge["size"] if edge["size"] else 1.0
            done = round(_WIDTH * share)
            bar = f"{'━' * done}{'─' * (_WIDTH - done)}"
            grow(branch.add(Text(f"{names.get(receiver, receiver)}  {bar}  {100 * share:.0f} %")), receiver)

    title = brief(edges[0]["name"]) or edges[0]["label"] or "content"
    tree = Tree(Text(f"{title}  {decimal(edges[0]['size'])}"))
    receivers = {edge["receiver"] for edge in edges}
    for root in sorted({edge["source"] for edge in edges}, key=lambda host: (host in receivers, host)):
        if root not in seen:
            grow(tree.add(Text(f"{names.get(root, root)} gives")), root)
    return tree


def _spread(view: Mapping[str, Any]) -> Table:
    table = Table(title="Images of this node", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", overflow="fold")
    table.add_column("on nodes that answered", justify="right")
    nodes = view["nodes"]
    for each in view["spread"][:_SHOWN_IMAGES]:
        is_alone = each["nodes"] == 1 and nodes > 1
        table.add_row(Text(brief(each["image"])), "only here" if is_alone else f"{each['nodes']} of {nodes}")
    if len(view["spread"]) > _SHOWN_IMAGES:
        table.add_row(f"and {len(view['spread']) - _SHOWN_IMAGES} more", "")
    return table


def _pulls(pulls: Mapping[str, Any]) -> Table:
    table = Table(title="Pulls of this node", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", overflow="fold")
    for name in ("size", "took", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("from", "slowed by"):
        table.add_column(name, overflow="fold")
    for pull in [*pulls["running"], *pulls["recent"]][:_SHOWN_PULLS]:
        took = f"{pull['ended'] - pull['began']:.1f} s" if pull["ended"] else "under way"
        sources = ", ".join(f"{source} {100 * share:.0f} %" for source, share in pull["sources"].items())
        words = (brief(pull["image"]), sources, "; ".join(pull["slowed"]))
        image, shown, slowed = map(Text, words)
        table.add_row(image, decimal(pull["size"]), took, f"{100 * pull['share']:.0f} %", shown, slowed)
    return table


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
