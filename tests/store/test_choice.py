"""Which store an agent serves, and when that becomes another one."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from registryd.config.agent import StoreKind, StoreSettings
from registryd.store.choice import Choosing

AUTO, CONTAINERD, DIRECTORY = StoreKind


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has 107 bytes at most, so they are relative ones."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)


SPECIAL, PLAIN = Path("run/k3s/c.sock"), Path("run/c/c.sock")
KNOWN = (SPECIAL, PLAIN)


def choosing(settings: StoreSettings | None = None, *, recorded: Path | None = None, signed: bool = False) -> Choosing:
    return Choosing(settings or StoreSettings(), recorded, signed, KNOWN)


def containerd_at(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


def test_a_directory_where_nothing_tells_of_a_containerd() -> None:
    assert choosing().now().kind is DIRECTORY


@pytest.mark.parametrize(
    ("chosen", "at"),
    [
        (choosing(StoreSettings(containerd_socket=Path("own.sock"))), Path("own.sock")),
        (choosing(recorded=Path("recorded.sock")), Path("recorded.sock")),
        (choosing(signed=True), PLAIN),
        (choosing(StoreSettings(kind=CONTAINERD)), PLAIN),
    ],
)
def test_a_sign_of_a_containerd_counts_though_it_is_not_there(chosen: Choosing, at: Path) -> None:
    assert (chosen.now().kind, chosen.now().socket) == (CONTAINERD, at)


def test_one_that_is_there_counts_the_special_before_the_plain() -> None:
    with closing(containerd_at(PLAIN)):
        assert choosing().now().socket == PLAIN
        with closing(containerd_at(SPECIAL)):
            assert (choosing().now().kind, choosing().now().socket) == (CONTAINERD, SPECIAL)
            assert choosing(StoreSettings(kind=DIRECTORY)).now().kind is DIRECTORY


async def test_the_socket_of_one_that_has_ended_is_passed_by() -> None:
    containerd_at(SPECIAL).close()
    one = choosing()
    choice = one.now()
    assert choice.socket == SPECIAL  # it may come back
    waiting = asyncio.create_task(one.wait_other(choice))
    await asyncio.sleep(0)
    with closing(containerd_at(PLAIN)):
        assert one.now().socket == PLAIN
        async with asyncio.timeout(20):
            await waiting


@pytest.mark.parametrize("came", KNOWN)
@pytest.mark.parametrize("signed", [False, True])
async def test_a_containerd_that_comes_is_noticed(came: Path, *, signed: bool) -> None:
    """Its folder comes first. Where one is expected at the usual place already, that one need not be noticed."""
    one = choosing(signed=signed)
    choice = one.now()
    waiting = asyncio.create_task(one.wait_other(choice))
    await asyncio.sleep(0)
    Path("run/other").mkdir()  # whatever else happens there
    with closing(containerd_at(came)):
        if signed and came == PLAIN:
            assert (one.now().kind, one.now().socket) == (choice.kind, choice.socket)
            await not_done(waiting)
            return
        async with asyncio.timeout(20):
            await waiting
        assert (one.now().kind, one.now().socket) == (CONTAINERD, came)


async def test_one_that_was_there_is_stayed_with_while_it_is_away() -> None:
    """Another one is there, as Docker's is beside k3s."""
    one = choosing()
    with closing(containerd_at(PLAIN)):
        with closing(containerd_at(SPECIAL)):
            choice = one.now()
            assert choice.socket == SPECIAL
            waiting = asyncio.create_task(one.wait_other(choice))
            await asyncio.sleep(0)
        SPECIAL.unlink()
        assert one.now().socket == PLAIN
        await not_done(waiting)


async def not_done(waiting: asyncio.Task[None]) -> None:
    await asyncio.wait([waiting], timeout=0.5)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
