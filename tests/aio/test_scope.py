from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from registryd.aio.scope import EndedUnexpectedly, alongside, open_scope, run_to_end

pytestmark = pytest.mark.looptime


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_service_lasts_as_long_as_the_scope(looptime: int) -> None:
    async with open_scope() as scope:
        service = scope.serve(forever, name="service")
        await asyncio.sleep(2)
        assert not service.done()
    assert service.cancelled()
    assert looptime == 2


async def test_a_service_that_returns_is_begun_again(looptime: int, caplog: pytest.LogCaptureFixture) -> None:
    began: list[float] = []

    async def short() -> None:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)

    async with open_scope() as scope:
        other = scope.serve(forever, name="other")
        scope.serve(short, name="the short one")
        await asyncio.sleep(60)
        assert not other.done()
    pauses = [after - before - 1 for before, after in pairwise(began)]
    assert pauses[0] <= 1
    assert sorted(pauses) == pauses
    assert "the short one" in caplog.text
    assert EndedUnexpectedly.__name__ in caplog.text


async def test_a_service_that_fails_is_begun_again_with_one_line(
    looptime: int, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([OSError("disk"), ExceptionGroup("several", [LookupError("key")])])

    async def failing() -> None:
        for failure in failures:
            raise failure
        await forever()

    async with open_scope() as scope:
        service = scope.serve(failing, name="service")
        await asyncio.sleep(30)
        assert not service.done()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].endswith("OSError: disk")
    assert lines[1].endswith("LookupError: key")


async def test_a_service_that_always_fails_costs_a_line_a_minute(
    looptime: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing() -> None:
        raise OSError("disk")

    async with open_scope() as scope:
        scope.serve(failing, name="service")
        await asyncio.sleep(3600)
    assert 60 <= len(caplog.records) <= 85


async def test_a_job_that_fails_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("disk")

    async with open_scope() as scope:
        other = scope.run(forever, name="other")
        assert await scope.run(fail, name="job") is None
        assert not other.done()
    (line,) = caplog.records
    assert line.getMessage() == "job failed, and the agent goes on without it: OSError: disk"
    assert line.__dict__["at"].startswith("scope.py:")
    assert line.exc_info is None


async def test_a_job_may_return_and_may_be_cancelled() -> None:
    async def job() -> str:
        return "done"

    async with open_scope() as scope:
        first, second = scope.run(job, name="first"), scope.run(forever, name="second")
        assert await first == "done"
        second.cancel()
        await asyncio.sleep(0)
    assert second.cancelled()


async def test_tasks_have_their_names() -> None:
    async with open_scope() as scope:
        assert scope.run(forever, name="a name").get_name() == "a name"
        assert scope.serve(forever, name="another").get_name() == "another"


async def test_cancelling_the_scope_awaits_the_end_of_its_tasks(looptime: int) -> None:
    async def lingering() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(2)

    async def scoped() -> None:
        async with open_scope() as scope:
            scope.serve(lingering, name="lingering")
            await forever()

    task = asyncio.create_task(scoped())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert looptime == 3


async def test_what_is_begun_when_the_scope_has_ended_does_not_keep_it_waiting(looptime: int) -> None:
    """Requests may still be at work that begin something."""
    late: list[asyncio.Task[object]] = []

    async def begin_another() -> None:
        try:
            await forever()
        finally:
            late.append(scope.run(forever, name="late"))

    async with open_scope() as scope:
        scope.run(begin_another, name="first")
        await asyncio.sleep(1)
    assert late[0].cancelled()
    assert looptime == 1


# one task beside its caller


async def test_gives_the_result_of_the_cleanup() -> None:
    assert await run_to_end(asyncio.sleep(1, "done"), name="cleanup") == "done"


async def test_raises_what_the_cleanup_raises() -> None:
    async def fail() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await run_to_end(fail(), name="cleanup")


async def test_a_time_out_is_raised_after_the_cleanup(looptime: int) -> None:
    ended = False

    async def slow() -> None:
        nonlocal ended
        await asyncio.sleep(3)
        ended = True

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await run_to_end(slow(), name="cleanup")
    assert ended
    assert looptime == 3


async def test_two_cancellations_do_not_stop_it(looptime: int) -> None:
    waiting = asyncio.create_task(run_to_end(asyncio.sleep(5), name="cleanup"))
    for _ in range(2):
        await asyncio.sleep(1)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert looptime == 5


async def fails() -> None:
    raise ValueError("the work failed")


async def test_work_alongside_is_cancelled_at_the_end_of_the_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()

    async with alongside(work(), name="work"):
        await asyncio.sleep(1)
        assert not ended.is_set()
    assert ended.is_set()


async def test_what_work_alongside_raises_is_raised_at_the_end_of_the_block(looptime: int) -> None:
    with pytest.raises(ValueError, match="the work failed"):
        async with alongside(fails(), name="work"):
            await asyncio.sleep(1)
    assert looptime == 1


async def test_who_is_cancelled_hears_that_and_not_what_work_alongside_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), alongside(fails(), name="work"):
            await asyncio.sleep(100)
    assert [record.message for record in caplog.records] == [
        "work failed, and the agent goes on without it: ValueError: the work failed"
    ]


async def test_what_the_block_raises_goes_before_what_work_alongside_raises() -> None:
    async def block() -> None:
        async with alongside(fails(), name="work"):
            await asyncio.sleep(1)
            raise KeyError

    with pytest.raises(KeyError):
        await block()
