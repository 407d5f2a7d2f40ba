"""Which clients can be told to ask again, as far as they say who they are."""

from __future__ import annotations

import asyncio

import pytest

from registryd.content.asker import Asker, Askers, asked_by, current_asker

pytestmark = pytest.mark.looptime

LINES_UP = Asker(lines_up=True, waits=True, is_patient=True)
IN_CHUNKS = Asker(lines_up=False, waits=True, is_patient=True)
KEEPS_ITS_PLACE = Asker(lines_up=False, waits=True)
UNKNOWN = Asker(lines_up=False, waits=False)


@pytest.mark.parametrize(
    ("user_agent", "asker"),
    [
        ("containerd/2.1.0", LINES_UP),
        ("containerd/v2.1.5-k3s1", LINES_UP),
        ("containerd/2.4.2", LINES_UP),
        ("containerd/3.0.0", LINES_UP),
        ("containerd/10.0.0-rc.1+unknown", LINES_UP),
        ("containerd/2.0.7", KEEPS_ITS_PLACE),
        ("containerd/1.7.24", KEEPS_ITS_PLACE),
        ("containerd/1.6.20~ds1", KEEPS_ITS_PLACE),
        ("containerd/1.10.0", KEEPS_ITS_PLACE),
        ("", UNKNOWN),
        (None, UNKNOWN),
        ("curl/8.5.0", UNKNOWN),
        ("buildkit/v0.13", UNKNOWN),
        ("Containerd/2.4.2", UNKNOWN),
        ("mycontainerd/2.4.2", UNKNOWN),
        ("containerd/2", UNKNOWN),
        ("containerd/2.x.1", UNKNOWN),
        ("containerd/\N{ARABIC-INDIC DIGIT TWO}.4.2", UNKNOWN),
        ("containerd/" + "9" * 5000 + ".1.0", UNKNOWN),
    ],
)
async def test_a_client_is_known_by_what_it_calls_itself(user_agent: str | None, asker: Asker) -> None:
    assert Askers().of(user_agent) == asker


async def test_a_containerd_that_fetches_in_parallel_is_not_told_to_ask_again() -> None:
    """A chunk that ends without a byte may fail the pull."""
    askers = Askers()
    assert askers.of("containerd/2.4.2", asks_for_all=True) == IN_CHUNKS
    assert askers.of("containerd/2.4.2") == IN_CHUNKS
    await asyncio.sleep(599)
    assert askers.of("containerd/2.4.2") == IN_CHUNKS
    await asyncio.sleep(1)
    assert askers.of("containerd/2.4.2") == LINES_UP


async def test_others_that_ask_for_all_bytes_by_name_change_nothing_for_containerd() -> None:
    askers = Askers()
    assert askers.of("curl/8.5.0", asks_for_all=True) == UNKNOWN
    assert askers.of("containerd/2.4.2") == LINES_UP


async def test_tasks_of_a_request_know_who_asks_and_others_do_not() -> None:
    assert current_asker() is None
    with asked_by(LINES_UP):
        assert await asyncio.create_task(_asker()) == LINES_UP
        with asked_by(UNKNOWN):
            assert await _asker() == UNKNOWN
        assert await _asker() == LINES_UP
    assert await asyncio.create_task(_asker()) is None


async def _asker() -> Asker | None:
    return current_asker()
