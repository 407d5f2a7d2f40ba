"""No fault of peers makes a pull fail that gets a layer from several of them: one of them bad, and all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from e2e.faults.field import MORTAL, OF_SEVERAL, SEVERAL
from e2e.faults.outcome import Outcome, Pull
from lab.cluster import ORIGIN
from lab.faults.characters import CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.faults.field import Field
    from e2e.faults.puller import Puller
    from lab.images import Image

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DECEITFUL = ("corrupts-large",)
# Those that give wrong bytes come last: for two minutes after that the same content comes from one at a time.
BAD = [*(name for name in OF_SEVERAL if name not in {"good", *DECEITFUL}), *MORTAL, *DECEITFUL]
# As of a small layer (test_characters), and what 24 MiB take when three give 600 KiB a second each.
LIMIT_SECONDS = 60
IMAGES = {False: 3, True: 4}  # of the field, by whether all are bad


@pytest.mark.parametrize("are_all", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("character", BAD)
async def test_a_pull_from_several_succeeds(
    field: Field, put_down: Callable[[Outcome], None], character: str, *, are_all: bool
) -> None:
    image = field.images[IMAGES[are_all]]
    field.cluster.origin.forget_requests()
    pulls = await asyncio.gather(*(_pull(field, puller, image, character, are_all) for puller in field.pullers))

    fault = f"{character}: {CHARACTERS[character].does}; 24 MiB"
    company = "the origin; three peers do this" if are_all else "two good peers"
    put_down(Outcome(fault, company, LIMIT_SECONDS, tuple(pulls)))
    if character not in MORTAL:
        assert field.faulty.met(character, "large"), "the fault was never met, so nothing is proven"
    if not are_all and character not in DECEITFUL:
        # Not of every node: one that is too busy for the bound on the first byte is sent to the origin.
        assert not all(pull.origin_bytes for _, pull in pulls), "the good peers were not asked to go on"


async def _pull(field: Field, puller: Puller, image: Image, character: str, are_all: bool) -> tuple[str, Pull]:
    reference = f"{ORIGIN}/faults/{image.tag}:{image.tag}"
    await puller.mortal.revive()
    bad, good = field.several(character, puller), field.several("good", puller)
    await puller.know(*(bad if are_all else [bad[0], *good[1:]]))
    # Each that lies may cost one, the first time that it gives anything.
    tries = 1 if character not in DECEITFUL else 1 + SEVERAL if are_all else 2
    pull = await puller.pull(reference, tries=tries, timeout=LIMIT_SECONDS)
    await puller.forget(reference, image)
    accesses = field.cluster.origin.requests()
    blobs = [access for access in accesses if access.client == puller.node.host.ipv4 and access.is_blob_transfer]
    return puller.name, replace(pull, origin_bytes=sum(access.sent for access in blobs))
