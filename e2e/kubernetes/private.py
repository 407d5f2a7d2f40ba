"""Who gets a private image: the same pods with registryd and without, so that the two can be compared."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.kubernetes.lab.pods import pull_secret
from e2e.kubernetes.lab.registry import OTHER_TENANT, TENANT
from lab.cri import Credentials

if TYPE_CHECKING:
    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage

LOGINS: Final = {"own": TENANT, "other": OTHER_TENANT, "wrong": Credentials("tenant", "a-wrong-password")}


_numbers = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """One pod. Cases follow each other on the same nodes, and what one has pulled is there for the next."""

    where: str  # in words
    node: int
    secret: str  # a key of LOGINS; empty: none
    runs: bool
    is_on: bool = True  # the registry
    pull_policy: str = "IfNotPresent"


CASES: Final = (
    Case("nobody has it", 0, "", runs=False),
    Case("nobody has it", 0, "wrong", runs=False),
    Case("nobody has it", 0, "own", runs=True),
    Case("the node has it", 0, "own", runs=True),
    Case("the node has it", 0, "", runs=False),
    Case("the node has it, pull policy Always", 0, "", runs=False, pull_policy="Always"),
    Case("the node has it", 0, "wrong", runs=False),
    Case("the node has it", 0, "other", runs=True),
    Case("a peer has it", 1, "", runs=False),
    Case("a peer has it", 1, "wrong", runs=False),
    Case("a peer has it", 1, "other", runs=True),
    Case("a peer has it, and the node for another", 1, "own", runs=True),
    Case("the node has it, registry off", 0, "own", runs=True, is_on=False),
    Case("the node has it, registry off", 0, "", runs=False, is_on=False),
    Case("the node has it, registry off", 0, "wrong", runs=False, is_on=False),
    Case("the node has it, registry off", 0, "other", runs=True, is_on=False),
    Case("a peer has it, registry off", 2, "", runs=False, is_on=False),
    Case("a peer has it, registry off", 2, "wrong", runs=False, is_on=False),
    Case("a peer has it, registry off", 2, "other", runs=False, is_on=False),
    Case("a peer has it, registry off", 2, "own", runs=False, is_on=False),
)


@dataclass(frozen=True)
class Result:
    outcome: str
    runs: bool
    asked: int  # how often that node got the manifest's name or the manifest from the registry
    refused: int  # how often it was refused for want of a login
    blobs: int  # bytes of blobs that the registry gave to that node


async def make_secrets(stage: Stage) -> None:
    registry = stage.registries["private"].name
    await stage.cluster.kubectl.apply(*(pull_secret(name, registry, login) for name, login in LOGINS.items()))


async def look(stage: Stage, cases: tuple[Case, ...] = CASES) -> list[Result]:
    """What becomes of each, with an image that is new."""
    registry = stage.registries["private"]
    reference, _ = await stage.image("private", f"team/app-{next(_numbers)}")
    results = []
    try:
        for case in cases:
            if not case.is_on:
                await registry.front.stop()
            results.append(await _look_at(stage, case, reference, stage.nodes[case.node]))
    finally:
        await registry.front.stop()
        await registry.front.start()
    return results


async def _look_at(stage: Stage, case: Case, reference: str, node: Node) -> Result:
    registry = stage.registries["private"]
    before, refused = len(registry.requests(of=node.host)), registry.refusals(of=node.host)
    outcome = await stage.pod(node, reference, secret=case.secret, pull_policy=case.pull_policy)
    asked = registry.requests(of=node.host)[before:]
    blobs = sum(each.sent for each in asked if each.is_blob_transfer and each.status < 300)
    refused = registry.refusals(of=node.host) - refused
    return Result(str(outcome), outcome.runs, sum(each.kind == "manifests" for each in asked), refused, blobs)
