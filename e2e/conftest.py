"""What the end-to-end tests share: real containerds, a network, an origin; and what happens where they cannot be had.

What this machine lacks (root, a program, a Debian suite) skips the tests that need it, with one line that says why.
With TESTS_MAY_SKIP=no, as in CI, it fails them.

A test that wants a `release` runs on the containerds that are alive and on one that has ended. Marked `every_series`,
it is about something in which versions differ, and runs on all that are tested.
"""

from __future__ import annotations

import asyncio
import functools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, get_args

import pytest

from e2e import known, long
from lab.errors import UnavailableError
from lab.images import Image, make_image
from lab.leftovers import workspace
from lab.network import Network, new_network
from lab.origin import Origin, running_origin
from lab.programs import PROGRAMS, obtain_programs
from lab.versions import ALIVE_SERIES, REPRESENTATIVE_SERIES, TESTED_SERIES, Release, Series, obtain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
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


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "run what wants a release on this series of containerd only, such as 2.2; may be given several times"
    parser.addoption("--series", action="append", choices=get_args(Series), help=what)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_series: containerds differ in what this is about; run it on all of them")
    config.addinivalue_line("markers", "programs: registries and clients of others are wanted, which the lab builds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" in metafunc.fixturenames and not _names_its_own(metafunc):
        differs = metafunc.definition.get_closest_marker("every_series")
        series = metafunc.config.getoption("--series") or (TESTED_SERIES if differs else REPRESENTATIVE_SERIES)
        metafunc.parametrize("release", series, indirect=True, scope="session")


def _names_its_own(metafunc: pytest.Metafunc) -> bool:
    """Whether the test says itself which releases it is about."""
    names = (marker.args[0] for marker in metafunc.definition.iter_markers("parametrize"))
    return any("release" in each for each in names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known.mark(items)
    long.mark(items)
    long.put_in_order(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the programs that are wanted now: to build one takes minutes, more than any test is given."""
    if os.geteuid() == 0:
        for series in sorted({series for item in session.items for series in _series_of(item)}):
            _outcome(series)
        if any(item.get_closest_marker("programs") for item in session.items):
            for name in PROGRAMS:
                # The test that needs it finds out why it is not there.
                with suppress(UnavailableError):
                    asyncio.run(obtain_programs(name))


def _series_of(item: pytest.Item) -> Iterable[Series]:
    wanted = getattr(item, "fixturenames", ())
    if "releases" in wanted:
        return TESTED_SERIES
    if "representatives" in wanted:
        return REPRESENTATIVE_SERIES
    if "release" in wanted:
        series: Series = item.callspec.params["release"]  # type: ignore[attr-defined]
        return [series]
    return [ALIVE_SERIES[-1]] if "newest" in wanted else []


@functools.cache
def _outcome(series: Series) -> Release | UnavailableError:
    try:
        return asyncio.run(obtain(series))
    except UnavailableError as error:
        return error


def obtained(series: Series) -> Release:
    """Tried once only: where there is no network, each try may take minutes."""
    outcome = _outcome(series)
    if isinstance(outcome, UnavailableError):
        raise outcome
    return outcome


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> Release:
    """Each containerd version in turn."""
    return obtained(request.param)


@pytest.fixture(scope="session")
def releases() -> tuple[Release, ...]:
    """All containerd versions at once, oldest first, for mixed clusters."""
    return tuple(map(obtained, TESTED_SERIES))


@pytest.fixture(scope="session")
def representatives() -> tuple[Release, ...]:
    """Those that stand for all, oldest first, side by side."""
    return tuple(map(obtained, REPRESENTATIVE_SERIES))


@pytest.fixture(scope="session")
def newest() -> Release:
    """For what has little to do with containerd."""
    return obtained(ALIVE_SERIES[-1])


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
