from __future__ import annotations

import pytest

from registryd.transfer.body import BytesBody
from registryd.transfer.errors import SourceBroken
from registryd.transfer.memory import read_all
from tests.fakes.bodies import BrokenBody, WitnessedBody


async def test_reads_up_to_the_limit_and_closes() -> None:
    body = WitnessedBody(BytesBody(b"ten bytes!"))
    assert await read_all(body, limit=10) == b"ten bytes!"
    assert body.is_closed


async def test_reads_nothing_of_a_larger_body() -> None:
    body = WitnessedBody(BytesBody(b"ten bytes!"))
    with pytest.raises(SourceBroken, match="more than the 9"):
        await read_all(body, limit=9)
    assert body.is_closed


async def test_a_body_that_breaks_is_closed() -> None:
    body = WitnessedBody(BrokenBody(b"ten bytes!", breaks_after=3))
    with pytest.raises(SourceBroken):
        await read_all(body, limit=10)
    assert body.is_closed
