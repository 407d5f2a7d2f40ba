"""What holds for every test: nothing it started or opened is left when it ends."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# How long an example takes says how busy the machine is. Where nobody looks on, the same examples each time: what
# chance finds is for who can look at it, and a change is not refused for what it did not do.
settings.register_profile("any machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any machine")

# Assertions of the contract suites explain themselves like those of test modules do.
pytest.register_assert_rewrite("tests.contracts", "tests.cluster.index.joining")

# gRPC's engine has a pair of sockets and lives as long as any object of gRPC. Kept, it does not look like a leak of
# the test whose garbage is collected late.
grpc.aio.init_grpc_aio()

# gRPC's core keeps a few of these for the life of the process, and event loops are made of them.
_NOT_OURS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")
# gRPC closes its sockets in threads of its own, a moment after the channel is closed. Waited only if something is left.
_GRACE_SECONDS = 2.0


@pytest.fixture(scope="session", autouse=True)
def no_event_loop_of_its_own() -> None:
    """The main thread has no event loop until a test makes one: looptime would open one and leave it."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """Files, sockets, pipes and watches that a test opened are closed when it ends."""
    before = _descriptors()
    yield
    deadline = time.monotonic() + _GRACE_SECONDS
    while (leaked := _descriptors().items() - before.items()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not leaked, f"open descriptors were left: {sorted(leaked)}"


@pytest.fixture(autouse=True)
def _no_task_left_if_async(request: pytest.FixtureRequest, no_descriptor_left: None) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left")


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Tasks that a test started have ended when it ends. (Automatic for async tests.)"""
    yield
    # Transports close their sockets one turn of the loop after they are told to.
    for _ in range(3):
        await asyncio.sleep(0)
    # gRPC's own tasks end when its threads have reported back, which may be after the caller has its answer.
    if grpcs := {task for task in _other_tasks() if _is_of_grpc(task)}:
        await asyncio.wait(grpcs, timeout=_GRACE_SECONDS)
    left = _other_tasks()
    assert not left, f"tasks were left: {sorted(map(str, left))}"


def _other_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def _is_of_grpc(task: asyncio.Task[object]) -> bool:
    """Its core is compiled by Cython, whose coroutines are of a type of their own; ours are Python's."""
    return type(task.get_coro()).__module__.startswith("_cython")


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if target not in _NOT_OURS:
            found[int(entry.name)] = target
    return found
