"""Three clusters as an agent's admin port tells of them: idle, busy, damaged. Times are the present."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from registryd.agent.own_trouble import own_trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.content.background import Announced

GB = 10**9
_ZONES = ("eu-1a", "eu-1b", "eu-1c")
_IMAGES = {
    "registry.k8s.io/kube-proxy:v1.37.1": 12,
    "ghcr.io/corp/api:2026.11.3": 9,
    "ghcr.io/corp/worker:2026.11.3": 7,
    "docker.io/library/postgres:18.1": 3,
    "quay.io/prometheus/node-exporter:v1.11.0": 12,
    "ghcr.io/corp/training/llm-finetune-with-a-rather-long-name:nightly-2026-11-28": 1,
}
_REASONS = {
    "damaged": {3: "no answer", 7: "another secret", 11: "clock"},
    "odd": {5: "no answer"} | dict.fromkeys((2, 3, 4, 6, 7, 8, 9, 10, 11), "another secret"),
}
_LAYER = "sha256:4f1c9a2be7d0"


class ScriptedOverview:
    """An Overview (`registryd.serving.admin`) that says what it was made with."""

    def __init__(self, status: Mapping[str, Any], cluster: Mapping[str, Any]) -> None:
        self._status = status
        self._cluster = cluster

    async def status(self, *, with_names: bool) -> Mapping[str, Any]:
        assert with_names
        return self._status

    async def cluster(self, *, with_names: bool) -> Mapping[str, Any]:
        assert with_names
        return self._cluster

    async def checkup(self) -> Mapping[str, Any]:
        raise AssertionError("nobody asks for it here")

    async def begin_trial(self, registry: str) -> Mapping[str, Any]:
        raise AssertionError(registry)

    def brings(self, announced: Announced, seconds: float) -> None:
        raise AssertionError((announced, seconds))

    def ends(self, by: str) -> None:
        raise AssertionError(by)


def overview(kind: str) -> ScriptedOverview:
    """`kind`: idle, busy, damaged, or odd: most members have another secret than this node."""
    is_damaged = kind == "damaged"
    reasons = _REASONS.get(kind, {})
    members = [_member(number, reasons.get(number, ""), is_damaged=is_damaged) for number in range(1, 13)]
    own = _vitals(1)
    status: dict[str, Any] = {
        "node": {"id": "0" * 32, **own, "began": time.time() - own["up_seconds"]},
        "doors": {"has_token": True, "is_secured": not is_damaged},
        "store": {"kind": "containerd", "images": len(_IMAGES), "names": list(_IMAGES), "kept_bytes": 0},
        "members": [{name: each[name] for name in ("address", "state", "since", "reason")} for each in members],
        "own_trouble": own_trouble(members),
        "pulls": {"running": [_pull(running=True)] if kind == "busy" else [], "recent": [_pull(), _slow_pull()]},
        "copies": [] if kind == "idle" else _copies(is_damaged=is_damaged),
        "transfers": {"running": [], "recent": []},
    }
    view = {
        "nodes": 9 if is_damaged else 12,
        "flows": _flows() if kind == "busy" else [],
        "spread": [
            {"image": name, "nodes": min(count, 9) if is_damaged else max(count, 3)}
            for name, count in sorted(_IMAGES.items(), key=lambda each: each[1])
        ],
        "alone": [{"host": "10.0.0.1", "images": 1}, {"host": "10.0.0.4", "images": 2}] if is_damaged else [],
        "hours": [_hour(number, is_idle=kind == "idle") for number in range(24)],
    }
    cluster = {"node": own, "own_host": "10.0.0.1", "members": members[1:], "view": view}
    return ScriptedOverview(status, cluster)


def _vitals(number: int) -> dict[str, Any]:
    return {
        "name": f"node{number}",
        "version": "1.0.0",
        "time": time.time(),
        "up_seconds": 3600 * 24 * number,
        "images": len(_IMAGES) + number - 1,
        "transfers": 0,
        "received_bytes": 31 * GB + number * GB,
        "sent_bytes": 9 * GB * number,
        "requests": 400 + number,
        "hits": 371,
        "spared_bytes": 40 * GB,
        "elsewhere_bytes": 3 * GB,
        "problem": "",
        "zone": _ZONES[number % 3],
    }


def _member(number: int, reason: str, *, is_damaged: bool) -> dict[str, Any]:
    vitals = None if reason else _vitals(number)
    if is_damaged and number == 5 and vitals:
        vitals |= {"problem": "containerd does not answer", "version": "0.9.2"}
    return {
        "address": f"10.0.0.{number}:3173",
        "state": "self" if number == 1 else "set aside" if reason else "up",
        "since": time.time() - 4000 * number,
        "reason": reason,
        "problem": "",
        # Of a clock that was wrong from the beginning nothing was ever heard.
        "name": "" if reason == "clock" else f"node{number}",
        "vitals": vitals,
        "asked_at": time.time(),
    }


def _copies(*, is_damaged: bool) -> list[dict[str, Any]]:
    nodes = [f"10.0.0.{number}:3173" for number in (1, 4, 9)]
    told = {"digest": f"sha256:{'d' * 64}", "size": 734_000_000, "wanted": 3, "zones": 2}
    return [
        {**told, "image": "ghcr.io/corp/api:2026.11.3", "state": "enough", "nodes": nodes},
        {
            **told,
            "image": next(name for name, count in _IMAGES.items() if count == 1),
            "state": "alone" if is_damaged else "enough",
            "nodes": nodes[:1] if is_damaged else nodes,
        },
    ]


def _flows() -> list[dict[str, Any]]:
    edges = [(1, 2, 90), (1, 3, 81), (2, 4, 74), (2, 5, 70), (4, 6, 55), (3, 7, 48), (5, 8, 31), (9, 3, 20)]
    layer = [
        {
            "label": _LAYER,
            "name": "ghcr.io/corp/api:2026.11.3",
            "size": 812_000_000,
            "sent": 8_120_000 * percent,
            "source": f"10.0.0.{source}",
            "receiver": f"10.0.0.{receiver}",
        }
        for source, receiver, percent in edges
    ]
    other = {"label": "sha256:99aa01c3d2f4", "name": "", "size": 96_000_000, "sent": 9_000_000}
    return [*layer, {**other, "source": "10.0.0.10", "receiver": "10.0.0.12"}]


def _pull(*, running: bool = False) -> dict[str, Any]:
    return {
        "image": "ghcr.io/corp/api:2026.11.3",
        "node": "node1",
        "began": time.time() - 14,
        "ended": None if running else time.time() - 2,
        "size": 734_000_000,
        "share": 1.0,
        "sources": {"10.0.0.9": 0.7, "10.0.0.4": 0.3},
        "slowed": [],
    }


def _slow_pull() -> dict[str, Any]:
    return {
        **_pull(),
        "image": "docker.io/library/postgres:18.1",
        "began": time.time() - 90,
        "ended": time.time() - 41,
        "share": 0.6,
        "sources": {"10.0.0.7": 0.6, "elsewhere": 0.4},
        "slowed": ["went elsewhere for 2 of 9: nobody had it", "left a slow source: 10.0.0.8"],
    }


def _hour(number: int, *, is_idle: bool) -> dict[str, int]:
    if is_idle and number < 20:
        return {"spared": 0, "elsewhere": 0}
    busy = (number * 7919) % 11
    return {"spared": busy * 3 * GB, "elsewhere": busy * GB // 4 + (number == 5) * 6 * GB}
