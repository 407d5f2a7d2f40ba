"""What the end-to-end tests share: real containerds, a network, an origin; and what happens where they cannot be had.

What this machine lacks (root, a program, a Debian suite) skips the tests that need it, with one line that says why.
With TESTS_MAY_SKIP=no, as in CI, it fails them.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from registryd.lab.errors import UnavailableError
from registryd.lab.images import Image, make_image
from registryd.lab.leftovers import workspace
from registryd.lab.network import Network, new_network
from registryd.lab.origin import Origin, running_origin
from registryd.lab.versions import TESTED_SERIES, Release, Series, obtain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def unavailable(error: UnavailableError) -> NoReturn:
    """The skip policy."""
    if os.environ.get("TESTS_MAY_SKIP", "yes") == "no":
        pytest.fail(f"may not be skipped: {error}", pytrace=False)
    pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> object:
    if os.geteuid() != 0:
        unavailable(UnavailableError("real containerds and network namespaces need root"))
    try:
        return (yield)
    except UnavailableError as error:
        unavailable(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> object:
    try:
        return (yield)
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="session", params=TESTED_SERIES)
def release(request: pytest.FixtureRequest) -> Release:
    """Each containerd version in turn."""
    series: Series = request.param
    return asyncio.run(obtain(series))


@pytest.fixture(scope="session")
def releases() -> tuple[Release, ...]:
    """All containerd versions at once, for mixed clusters."""
    return tuple(asyncio.run(obtain(series)) for series in TESTED_SERIES)


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """Like tmp_path, with a path that is short enough for sockets."""
    async with workspace() as path:
        yield path


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with new_network() as network:
        yield network


@pytest.fixture
async def origin(network: Network, folder: Path) -> AsyncIterator[Origin]:
    """An empty registry on a host of its own."""
    host = await network.add_host("origin")
    async with running_origin(folder / "o", address=f"{host.ipv4}:5000", namespace=host.namespace) as origin:
        yield origin


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Two architectures, three layers: gzip of noise, gzip of text, plain tar."""
    return make_image(tmp_path_factory.mktemp("image") / "layout")
