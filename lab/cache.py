"""A `registryd cache` as a program of its own."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from lab.agent import Agent
from lab.toml_text import Table, merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from lab.namespaces import Namespace

CACHE = (sys.executable, "-m", "registryd", "cache")
CACHE_PORT = 3172


def cache_settings(folder: Path, *, listen: str, changes: Table) -> Table:
    """The settings of a cache that keeps its content in the folder, without limits; `changes` go over them last."""
    settings: Table = {
        "cache": {"listen": listen, "keep_free": "0B"},
        # What the lab asks an agent's registry is asked here as well.
        "registry": {"listen": listen},
        "store": {"directory": str(folder / "store")},
        "upstreams": {"allow": []},
        "log": {"level": "debug"},
    }
    return merged(settings, changes)


@contextlib.asynccontextmanager
async def running_cache(
    folder: Path,
    *,
    listen: str,
    changes: Table,
    namespace: Namespace | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Agent]:
    """A cache that is ready, for the length of the block; asked and measured as an agent is."""
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    program = ("env", *variables, *CACHE) if variables else CACHE
    cache = Agent(cache_settings(folder, listen=listen, changes=changes), folder, namespace, program=program)
    try:
        await cache.start()
        yield cache
    finally:
        await cache.stop()
