"""A directory store in a fresh directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.store.directory.store import DirectoryStore, open_directory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[DirectoryStore]:
    async with open_directory_store(root) as opened:
        yield opened
