"""Bodies of real connections take no more than the allowance, by splice and by copying; no source is blamed for it."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.allowance import Allowance, Priority
from registryd.transfer.body import BytesBody
from registryd.transfer.http.fetch import fetch
from registryd.transfer.limited import LimitedBody, LimitedSink
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import FloorCheck, FloorRate
from tests.fakes.certificates import server_tls
from tests.fakes.sinks import FakeSink
from tests.transfer.receiver import receiver
from tests.transfer.scripted_source import Exchange, partial, scripted_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from registryd.transfer.body import Body

MIB = 1 << 20
DATA = os.urandom(16 * MIB)


async def send_all(exchange: Exchange) -> None:
    await exchange.send(partial(DATA), DATA)


async def fetched(address: tuple[str, int], context: ssl.SSLContext | None) -> Body:
    body = await fetch(
        address,
        "/blob",
        span=Span.whole(len(DATA)),
        size=len(DATA),
        ssl=context,
        connect_timeout=5.0,
        first_byte_timeout=5.0,
    )
    # Much quicker than the limit lets it be: a source that was blamed for that would be broken.
    return MonitoredBody(body, FloorCheck(FloorRate(bytes_per_second=1000 * MIB, window_seconds=0.3)))


def always(priority: Priority) -> Callable[[], Priority]:
    return lambda: priority


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_a_limited_body_takes_its_time(tmp_path: Path, *, encrypted: bool) -> None:
    context = server_tls(tmp_path, "127.0.0.1") if encrypted else None
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt")) if encrypted else None
    async with scripted_source(send_all, ssl=context) as source:
        body = LimitedBody(await fetched(source.address, client), Allowance(10 * MIB))
        began = asyncio.get_running_loop().time()
        async with aclosing(body):
            with receiver() as got:
                sending = asyncio.create_task(body.send_to(got.sink))
                assert await got.read(len(DATA)) == DATA
                await sending
        # 1.6 s, of which the first step and the burst cost nothing.
        assert asyncio.get_running_loop().time() - began > 1.0


@pytest.mark.looptime
async def test_what_is_written_waits_in_steps() -> None:
    sink, allowance = FakeSink(), Allowance(MIB)
    await LimitedBody(BytesBody(DATA), allowance).send_to(sink)
    assert bytes(sink.data) == DATA
    assert asyncio.get_running_loop().time() == pytest.approx(16, abs=0.2)


@pytest.mark.looptime
async def test_the_background_waits_behind_a_pull() -> None:
    allowance = Allowance(8 * MIB, background=0.25)
    bodies = [LimitedBody(BytesBody(DATA), allowance, always(each)) for each in Priority]
    pull, behind = (asyncio.create_task(body.send_to(FakeSink())) for body in bodies)
    await pull
    assert asyncio.get_running_loop().time() < 3
    await behind
    assert asyncio.get_running_loop().time() == pytest.approx(4.9, abs=0.6)  # a second of quiet between them


@pytest.mark.looptime
async def test_a_body_that_is_given_up_while_it_waits_leaves_nothing() -> None:
    sending = asyncio.create_task(LimitedBody(BytesBody(DATA), Allowance(MIB)).send_to(FakeSink()))
    await asyncio.sleep(3)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_what_a_pod_comes_to_wait_for_is_no_longer_background() -> None:
    allowance, sink, priority = Allowance(background=0.1), FakeSink(), Priority.BACKGROUND
    allowance.take(100 * MIB)  # a pull is running
    held = LimitedSink(sink, allowance, lambda: priority)
    await held.write(DATA)
    assert allowance.take(1, Priority.BACKGROUND).background > len(DATA)
    priority = Priority.PULL
    await held.write(DATA)
    assert allowance.take(1, Priority.BACKGROUND).background <= len(DATA) + 2
    assert sink.data == DATA * 2
