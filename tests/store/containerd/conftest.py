"""A fake containerd for each test, and stores that follow it with short waits."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from registryd.config.agent import StoreSettings
from registryd.store.containerd.connect import connect_containerd_store
from registryd.store.containerd.timing import Timing
from tests.fakes.containerd import FakeContainerd, running_fake
from tests.fakes.containerd_faults import LATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from registryd.store.containerd.store import ContainerdStore

# Patient, because machines that run tests are busy; and quick to try again.
PATIENT = Timing(answer=20, presence=0.2, listing=20, chunk=20, subscription=0.02, retry=0.02)
# For those who are kept waiting on purpose.
HASTY = Timing(answer=1.0, presence=0.2, listing=20, chunk=1.0, subscription=0.02, retry=0.02)
# For those who wait for a first byte no longer than a tenth of what a late containerd takes.
PROMPT = Timing(answer=LATE_SECONDS / 10, presence=0.2, listing=5, chunk=5, subscription=0.02, retry=0.02)


class Connect(Protocol):
    def __call__(
        self, *namespaces: str, ready: bool = True, timing: Timing = PATIENT
    ) -> AbstractAsyncContextManager[ContainerdStore]: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    """Like tmp_path, short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="rd") as name:
        yield Path(name)


@pytest.fixture
async def containerd(folder: Path) -> AsyncIterator[FakeContainerd]:
    async with running_fake(folder) as fake:
        yield fake


@pytest.fixture
def connect(containerd: FakeContainerd, folder: Path) -> Connect:
    """Connects a store to the fake, and waits until it is ready unless told not to."""

    @asynccontextmanager
    async def connected(
        *namespaces: str, ready: bool = True, timing: Timing = PATIENT
    ) -> AsyncIterator[ContainerdStore]:
        settings = StoreSettings(
            containerd_socket=containerd.socket,
            containerd_root=folder / "configured",
            namespaces=namespaces or ("k8s.io",),
            keep_layers=0,  # whose questions would be counted with the others
        )
        async with connect_containerd_store(settings, timing=timing) as store:
            if ready:
                async with asyncio.timeout(30):
                    await store.wait_ready()
            yield store

    return connected


async def eventually(holds: Callable[[], bool], *, timeout: float = 20.0) -> None:
    """Wait for what another task, or the other end of a connection, is about to do."""
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110 - it is on the other side of a socket
            await asyncio.sleep(0.001)
