"""One answer for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
import gc

import pytest

from registryd.aio.scope import open_scope
from registryd.aio.shared import Shared


class Question:
    """Answers when the gate is opened; counts how often it was asked."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.asked = 0
        self._failure = failure

    async def __call__(self) -> int:
        self.asked += 1
        await self.gate.wait()
        if self._failure:
            raise self._failure
        return self.asked


async def asking(shared: Shared[str, int], question: Question, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(shared.get("key", question, name="question")) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_it_is_asked_once_and_again_later() -> None:
    question = Question()
    async with open_scope() as scope:
        shared: Shared[str, int] = Shared(scope)
        tasks = await asking(shared, question, 5)
        question.gate.set()
        assert await asyncio.gather(*tasks) == [1] * 5
        assert await shared.get("key", question, name="question") == 2


async def test_a_failure_is_everybodys_and_not_kept() -> None:
    question = Question(LookupError("no"))
    async with open_scope() as scope:
        shared: Shared[str, int] = Shared(scope)
        tasks = await asking(shared, question, 2)
        question.gate.set()
        assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [LookupError] * 2
        with pytest.raises(LookupError):
            await shared.get("key", question, name="question")
        assert question.asked == 2


async def test_who_is_cancelled_takes_nobody_along() -> None:
    question = Question()
    async with open_scope() as scope:
        shared: Shared[str, int] = Shared(scope)
        first, second = await asking(shared, question, 2)
        first.cancel()
        await asyncio.wait((first,))
        question.gate.set()
        assert (first.cancelled(), await second) == (True, 1)


async def test_nobody_needs_to_wait_for_a_failure() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    question = Question(LookupError("no"))
    async with open_scope() as scope:
        shared: Shared[str, int] = Shared(scope)
        [task] = await asking(shared, question, 1)
        task.cancel()
        await asyncio.wait((task,))
        question.gate.set()
        for _ in range(3):
            await asyncio.sleep(0)
    gc.collect()
    assert not complaints


async def test_the_end_of_the_scope_cancels_those_who_wait() -> None:
    question = Question()
    async with open_scope() as scope:
        shared: Shared[str, int] = Shared(scope)
        [task] = await asking(shared, question, 1)
    with pytest.raises(asyncio.CancelledError):
        await task
