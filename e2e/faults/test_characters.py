"""No fault of a peer makes a pull fail: each character alone with the origin, and beside a good peer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from e2e.faults.field import MORTAL
from e2e.faults.outcome import Outcome, Pull
from lab.cluster import ORIGIN
from lab.faults.characters import CHARACTERS, Greeting

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.faults.field import Field
    from e2e.faults.puller import Puller

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

BAD = [name for name in CHARACTERS if name != "good"]
# What a pull may take. Without a fault 1 s here; time-outs of ours: 3 s to a first byte, for each of a manifest, a
# config and a layer, 5 s of silence in a body, 5 s of too little; the rest is for a machine busy with other tests.
LIMIT_SECONDS = 45
# Wrong in a way that only containerd can tell, after the last byte.
DECEITFUL = {"corrupts-large"}
# Those whose fault shows before they would give anything large.
FAIL_EARLY = {"stalls-small", "corrupts-small", "mute", "errors", "too-few", "too-many"}


@dataclass(frozen=True)
class Case:
    character: str
    accompanied: bool

    @property
    def tries(self) -> int:
        return 2 if self.character in DECEITFUL else 1


@pytest.mark.parametrize("accompanied", [False, True], ids=["alone", "beside-a-good-one"])
@pytest.mark.parametrize("character", BAD)
async def test_a_pull_succeeds_whatever_a_peer_does(
    field: Field, put_down: Callable[[Outcome], None], character: str, *, accompanied: bool
) -> None:
    case = Case(character, accompanied)
    field.cluster.origin.forget_requests()
    pulls = await asyncio.gather(*(_pull(field, puller, case) for puller in field.pullers))

    does = CHARACTERS[character].does
    company = "a good peer" if accompanied else "the origin"
    put_down(Outcome(f"{character}: {does}", company, LIMIT_SECONDS, tuple(pulls)))
    if CHARACTERS[character].asked is Greeting.ANSWERED and character not in MORTAL:
        kind = "small" if character in FAIL_EARLY else "large"
        assert field.faulty.met(character, kind), "the fault was never met, so nothing is proven"
    if accompanied:
        # Not of every node: one that is too busy for the bound on the first byte is sent to the origin.
        assert not all(pull.origin_bytes for _, pull in pulls), "the good peer was not asked to go on"


async def _pull(field: Field, puller: Puller, case: Case) -> tuple[str, Pull]:
    image = field.image(accompanied=case.accompanied)
    reference = f"{ORIGIN}/faults/{image.tag}:{image.tag}"
    good = [field.peer("good", puller, accompanied=False)] if case.accompanied else []
    await puller.mortal.revive()
    await puller.know(field.peer(case.character, puller, accompanied=case.accompanied), *good)
    pull = await puller.pull(reference, tries=case.tries, timeout=LIMIT_SECONDS)
    await puller.forget(reference, image)
    if not case.accompanied:
        return puller.name, pull
    accesses = field.cluster.origin.requests()
    blobs = [access for access in accesses if access.client == puller.node.host.ipv4 and access.is_blob_transfer]
    return puller.name, replace(pull, origin_bytes=sum(access.sent for access in blobs))
