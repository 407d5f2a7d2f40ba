from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import aclosing

import pytest

from registryd.cluster.members.discovery.dns import DnsDiscovery, resolve_host
from registryd.notation import Address

NAME = Address("peers.example", 3173)
A, B = Address("192.0.2.1", 3173), Address("192.0.2.2", 3173)


class Resolver:
    """Gives one answer after the other, then the last one for ever; `asked` keeps when."""

    def __init__(self, *answers: frozenset[Address] | OSError) -> None:
        self.asked: list[float] = []
        self._answers = list(answers)

    async def __call__(self, name: Address) -> frozenset[Address]:
        assert name == NAME
        self.asked.append(asyncio.get_running_loop().time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.mark.looptime
async def test_changes_are_seen_at_the_next_lookup() -> None:
    resolver = Resolver(frozenset({A}), frozenset({A}), frozenset({A, B}))
    async with aclosing(DnsDiscovery(NAME, interval=10, resolve=resolver).watch()) as changes:
        assert await anext(changes) == {A}
        assert await anext(changes) == {A, B}
    assert len(resolver.asked) == 3
    assert all(8 <= later - earlier <= 10 for earlier, later in zip(resolver.asked, resolver.asked[1:], strict=False))


@pytest.mark.looptime
async def test_a_failure_leaves_the_last_set_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    resolver = Resolver(frozenset({A}), failure, failure, frozenset({A}), frozenset({B}))
    async with aclosing(DnsDiscovery(NAME, interval=10, resolve=resolver).watch()) as changes:
        assert [await anext(changes), await anext(changes)] == [{A}, {B}]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "Temporary failure" in caplog.text


async def test_the_systems_resolver() -> None:
    assert await resolve_host(Address("127.0.0.1", 3173)) == {Address("127.0.0.1", 3173)}
    assert await resolve_host(Address("::1", 3173)) == {Address("::1", 3173)}
    with pytest.raises(OSError, match=r"resolution|known|associated"):
        await resolve_host(Address("no-such-host.invalid", 3173))
