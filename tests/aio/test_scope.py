from __future__ import annotations

import asyncio

import pytest

from registryd.aio.scope import EndedUnexpectedly, open_scope

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


async def test_a_service_that_returns_brings_the_scope_down(looptime: int) -> None:
    async def short() -> None:
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with open_scope() as scope:
            other = scope.serve(forever, name="other")
            scope.serve(short, name="the short one")
            await forever()
    assert caught.group_contains(EndedUnexpectedly, match="the short one")
    assert other.cancelled()
    assert looptime == 1


async def test_a_job_that_fails_brings_the_scope_down() -> None:
    async def fail() -> None:
        raise OSError("disk")

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with open_scope() as scope:
            scope.run(fail, name="job")
            await forever()
    assert caught.group_contains(OSError, match="disk")


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
