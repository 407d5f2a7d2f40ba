"""The tasks in which layers are taken in."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.scope import open_scope
from registryd.cluster.fetch.intakes import Intakes
from registryd.cluster.fetch.pulls import Pulls
from registryd.content.source import Content, ContentNotFound, OpenContent
from registryd.oci.ranges import Span
from registryd.transfer.inflow import InflowMemory, Inflows
from tests.cluster.finding import Arriving, ScriptedFinder
from tests.cluster.receiving import MIB, OwnStore, layer
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    import pytest

    from registryd.content.sought import Sought

LAYER = layer(1)


async def test_an_agent_that_stops_at_once_leaves_nothing_that_was_never_awaited(
    recwarn: pytest.WarningsRecorder,
) -> None:
    inflows = Inflows(InflowMemory(64 * MIB))
    own = OwnStore(inflows)
    own.begin(LAYER, MIB)
    async with open_scope() as scope:
        intakes = Intakes(
            ScriptedFinder(),
            Pulls(own),
            own,
            inflows,
            fetch_wait=10.0,
            run=partial(scope.run, name="take in"),
            await_manifest=_await_manifest,
        )
        scope.stop()
        intakes.sent_away(sought(LAYER), ContentNotFound("nobody has it"))
        span = Span.whole(MIB)
        opened = OpenContent(Content(LAYER, MIB, None), span, Arriving(bytes(MIB)).body(span))
        await intakes.adopt(sought(LAYER), opened)
    gc.collect()
    assert not recwarn.list


async def _await_manifest(_sought: Sought) -> None:
    raise AssertionError("the agent has stopped")
