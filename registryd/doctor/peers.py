"""The other nodes: are there any, do we reach them, do they reach us, are they of this cluster, is it the same time?"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.notation import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from registryd.doctor.patient import Patient

# The newest answer for a tag wins, by the clocks of the nodes that saw it: seconds do no harm, minutes may.
_SKEW_WARNING: Final = 30.0
# Certificates are valid from eight hours before they are made (identity.minted).
_SKEW_PROBLEM: Final = 8 * 3600.0

# Clouds have three or four to a region.
_MOST_ZONES: Final = 8
# Two findings are read one by one.
_SEVERAL: Final = 3


async def check_peers(patient: Patient) -> list[Finding]:
    """Whether members reach each other, each way and each port."""
    if isinstance(patient.checkup, str):
        return [] if isinstance(patient.status, str) else [_unexamined(patient.checkup)]
    if not patient.members:
        kind = patient.settings.discovery.kind
        found = f"discovery ({kind}) knows no other node, so all content comes from the upstream"
        return [warning("peers", found, "if there are other nodes, check [discovery] and the agent's log")]
    faults = list(_together(patient.members))
    if not faults and all(member["is_stranger"] for member in patient.members):
        return []  # what to say of them is said by the check of the secret
    if not any(map(_is_reached, patient.members)):
        count = len(patient.members)
        found = "the only other node cannot be reached" if count == 1 else f"none of {count} other nodes can be reached"
        return [
            problem("peers", found, "all content comes from the upstream meanwhile; the findings below say why"),
            *faults,
        ]
    if faults:
        return faults
    own = patient.checkup["own_address"]
    reached = sum(not member["is_stranger"] for member in patient.members)
    return [ok("peers", f"{reached} reached, and they reach {own}")]


def _together(members: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What is wrong; one finding for what several members show alike: mostly it is about this node."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for member in members:
        host = re.escape(member["address"].rpartition(":")[0])
        for finding in _faults(member):
            what = re.sub(rf"(?<![\w.]){host}:(\d+)", r"port \1", finding.found)
            alike.setdefault((what, finding.remedy), []).append(finding)
    for (what, _), same in alike.items():
        if len(same) < _SEVERAL:
            yield from same
        else:
            addresses = ", ".join(each.name.removeprefix("peers ") for each in same)
            found = f"{len(same)} of {len(members)} nodes: {what}"
            yield replace(same[0], name="peers", found=found, details=addresses)


_START: Final = "its host is there, its agent is not: start it, and look at its log"


def _is_reached(member: Mapping[str, Any]) -> bool:
    """Whether it answers as a member, of whatever version."""
    return not member["peers_problem"] and (member["vitals"] is not None or member["state"] != "set aside")


def _faults(member: Mapping[str, Any]) -> Iterator[Finding]:
    name, firewall = f"peers {member['address']}", "let the peers' ports (3173, 3174 by default) through the firewall"
    if member["is_stranger"]:
        return  # what to say of it is said by the check of the secret
    if why := member["peers_problem"].removeprefix(f"{member['address']}: "):
        # Nobody refuses for a host that is down or behind a firewall that drops.
        remedy = _START if "refused" in why else f"is that node up? If so, {firewall}"
        yield warning(name, f"cannot be reached: {why}", remedy)
    elif member["problem"]:
        yield warning(name, f"gives no answer: {member['problem']}", "look at its agent's log; is it the same version?")
    if member["content_problem"]:
        found = f"its bytes port cannot be reached, so layers take a slow way: {member['content_problem']}"
        yield problem(name, found, firewall)
    yield from _faults_back(name, member["back"])


def _faults_back(name: str, back: Mapping[str, Any] | None) -> Iterator[Finding]:
    if back is None:
        return
    if not back["is_known"]:
        found = "its discovery does not know this node, so it gets nothing from here"
        yield problem(name, found, "check peers.advertise here, and [discovery] there")
    for port in ("peers_problem", "content_problem"):
        if back[port]:
            found = f"it cannot reach this node: {back[port]}"
            yield problem(name, found, "let the peers' ports through this node's firewall; check peers.advertise")


def _unexamined(reason: str) -> Finding:
    return warning("peers", f"the agent did not examine them: {reason}", "try again; is the agent of this version?")


async def check_zones(patient: Patient) -> list[Finding]:
    """Whether all nodes know where they are, if any does."""
    nodes = [member["vitals"] for member in patient.members if member["vitals"] is not None]
    if not isinstance(patient.status, str):
        nodes.append(patient.status["node"])
    zones = Counter(node.get("zone", "") for node in nodes)
    lost = zones.pop("", 0)
    if not zones:
        return []
    found = ", ".join(f"{count} in {zone}" for zone, count in sorted(zones.items())[:_MOST_ZONES])
    if lost:
        remedy = "label these nodes with topology.kubernetes.io/zone, or set peers.zone: now they are far from all"
        return [warning("zones", f"{found}; {lost} in none", remedy)]
    return [ok("zones", f"nodes that answer: {found}")]


async def check_secret(patient: Patient) -> list[Finding]:
    """Whether members take each other for members."""
    peers = patient.settings.peers
    strangers = [member for member in patient.members if member["is_stranger"]]
    if strangers:
        if _is_outnumbered(len(strangers), sum(map(_is_reached, patient.members))):
            remedy = "give this node the cluster's peers.secret_file (or a certificate of the cluster's authority)"
            count = f"{len(strangers)} of {counted(len(patient.members), 'other node')}"
            found = f"this node has another secret than {count}: {strangers[0]['peers_problem']}"
            return [problem("secret", found, remedy)]
        found = "; ".join(member["peers_problem"] for member in strangers[:3])
        remedy = "give all nodes the same peers.secret_file (or certificates of one authority)"
        nodes = counted(len(strangers), "node has", "nodes have")
        return [problem("secret", f"{nodes} another secret: {found}", remedy)]
    if peers.insecure:
        found = "peers.insecure: anyone who reaches the peers' ports can fetch this node's images"
        return [warning("secret", found, "`registryd secret new` prints a secret for peers.secret_file")]
    if not peers.has_credentials and not (peers.listen.is_loopback and peers.content_listen.is_loopback):
        found = "neither a secret nor certificates are set, and no agent starts with such settings"
        return [warning("secret", found, "give doctor the agent's own settings (--config)")]
    others = sum(member["vitals"] is not None for member in patient.members)
    if peers.has_credentials and others:
        return [ok("secret", f"that of {counted(others, 'other node')}, too")]
    return [ok("secret", "there is nobody to compare it with")]


async def check_clock(patient: Patient) -> list[Finding]:
    """How far apart the clocks are."""
    skews = {member["address"]: member["skew"] for member in patient.members if member["skew"] is not None}
    if not skews:
        return []
    address = max(skews, key=lambda each: abs(skews[each]))
    worst = skews[address]
    found = f"{address} is {abs(worst):.1f} s {'ahead' if worst > 0 else 'behind'}"
    why = "certificates have times, and the newest answer for a tag wins"
    remedy = f"keep all clocks right (NTP): {why}"
    for off, word in ((_far(skews.values(), 1), "behind"), (_far(skews.values(), -1), "ahead of")):
        if _is_outnumbered(len(off), len(skews) - len(off)):
            worst = median(off)
            found = f"this node is {abs(worst):.1f} s {word} {len(off)} of {counted(len(skews), 'other node')}"
            remedy = f"set this node's clock right (NTP): {why}"
    if abs(worst) > _SKEW_PROBLEM:
        return [problem("clock", found, remedy)]
    if abs(worst) > _SKEW_WARNING:
        return [warning("clock", found, remedy)]
    return [ok("clock", f"that of {counted(len(skews), 'peer')} differs by {abs(worst):.1f} s at most")]


def _far(skews: Iterable[float], sign: int) -> list[float]:
    return [skew for skew in skews if skew * sign > _SKEW_WARNING]


def _is_outnumbered(differing: int, agreeing: int) -> bool:
    """Whether this node is the one that is wrong: with those who agree with it, it is outnumbered."""
    return differing > agreeing + 1
