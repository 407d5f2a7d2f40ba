"""A client, and a registry that asks for tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from registryd.upstream.client import RegistryClient, open_client
from registryd.upstream.proxies import Proxies
from tests.upstream.world import IMPATIENT, registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.upstream import FakeUpstream


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(clock=time.monotonic, patience=IMPATIENT, proxies=Proxies()) as client:
        yield client


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with registry("bearer") as upstream:
        yield upstream
