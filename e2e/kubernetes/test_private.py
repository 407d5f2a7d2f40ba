"""Private images: whoever may not have one does not get it, and whoever may is not kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.private import CASES, look, make_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def test_the_same_pods_run_as_without(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.uninstall()
    await make_secrets(stage)
    without = await look(stage)
    await stage.install()
    results = await look(stage)
    for case, before, result in zip(CASES, without, results, strict=True):
        seen(
            "Private images",
            where=case.where,
            node=stage.nodes[case.node].name,
            secret=case.secret or "none",
            without_registryd=before.outcome,
            with_registryd=result.outcome,
            registry_answered=f"{before.asked} / {result.asked}",
            registry_refused=f"{before.refused} / {result.refused}",
            blobs_from_the_registry=f"{before.blobs / 1e6:.1f} / {result.blobs / 1e6:.1f} MB",
        )
    assert [result.runs for result in results] == [case.runs for case in CASES]
    assert [result.runs for result in without] == [case.runs for case in CASES]
    # Every secret that is needed is asked for: whoever pulls or is refused while the registry is on has asked it.
    for case, before, result in zip(CASES, without, results, strict=True):
        if before.asked:
            assert result.asked, case
        if before.refused:
            assert result.refused, case
    assert any(
        case.where == "a peer has it" and result.runs and not result.blobs
        for case, result in zip(CASES, results, strict=True)
    )
