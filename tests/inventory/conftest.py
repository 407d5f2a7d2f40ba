"""A cache on loopback, and its upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.caching.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path / "cache") as world:
        yield world
