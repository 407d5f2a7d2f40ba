"""An agent that is odd about stripes: `python -m lab.odd_stripes MANNER agent --config FILE`.

MANNER: `plain` is an agent as it is; `wrong` gives one wrong bit in each body of a stripe; `old` knows nothing of
stripes, as agents of an older version. Each says on standard output when its receive buffer is in use, and when it is
empty again.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, cast

from registryd.__main__ import main
from registryd.cluster.index import rush
from registryd.cluster.index_client import index_nodes
from registryd.cluster.rpc import index_service, peer, service
from registryd.config import agent
from registryd.serving import peer_bytes
from registryd.transfer.growing import StripeBody, WholeStripeBody
from registryd.transfer.inflow import InflowMemory
from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IN_USE: Final = "odd: the receive buffer is in use"
EMPTY: Final = "odd: the receive buffer is empty"
WRONG: Final = "odd: a wrong bit"
# How long after the first claim others are gathered, and how long a claim is waited for. Nodes of a wave on a busy
# machine ask within 0.7 s. After 2 s agents end requests that wait, if containerd wants to fetch something else: with
# as long a moment all nodes were put off at its end, and got the layer as a whole.
GATHERED_SECONDS: Final = 1.2
_CLAIM_SECONDS: Final = 6.0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell_of_buffer() -> None:
    take, give_back = InflowMemory.take, InflowMemory.give_back

    def taken(self: InflowMemory, count: int) -> None:
        if not self.held and count:
            _say(IN_USE)
        take(self, count)

    def given_back(self: InflowMemory, count: int) -> None:
        give_back(self, count)
        if not self.held and count:
            _say(EMPTY)

    InflowMemory.take, InflowMemory.give_back = taken, given_back  # type: ignore[method-assign]


class _WrongSink(Sink):
    """Passes on what is written, the first byte of all of it wrong."""

    def __init__(self, sink: Sink) -> None:
        self.sent = 0
        self._sink = sink

    async def write(self, data: bytes | memoryview) -> None:
        given = bytearray(data)
        if given and not self.sent:
            given[0] ^= 1
            _say(WRONG)
        self.sent += len(given)
        await self._sink.write(bytes(given))


def _wrong(send: Callable[[Any, Sink], Awaitable[None]]) -> Callable[[Any, Sink], Awaitable[None]]:
    @wraps(send)
    async def send_wrong(body: Any, sink: Sink) -> None:
        await send(body, _WrongSink(sink))

    return send_wrong


def _give_wrong_bits() -> None:
    for kind in (StripeBody, WholeStripeBody):
        cast("Any", kind).send_to = _wrong(kind.send_to)


def _know_nothing_of_stripes() -> None:
    """Write and read messages as if they had no fields for stripes."""
    asking, answering, finding, giving = cast("tuple[Any, ...]", (peer, index_service, service, peer_bytes))
    claim, announcement = asking.claim_message, asking.announcement_message
    read_claim, sought = answering.claim_value, finding.sought_value
    asking.claim_message = lambda said: claim(replace(said, takes_stripes=False))
    asking.announcement_message = lambda said: announcement(replace(said, gives_stripes=False))
    answering.claim_value = lambda *said: replace(read_claim(*said), takes_stripes=False, stripe=None)
    finding.sought_value = lambda digest, repository, _stripe=0: sought(digest, repository)
    giving._stripe_of = lambda _request: None  # noqa: SLF001


_MANNERS: Final = {"plain": lambda: None, "wrong": _give_wrong_bits, "old": _know_nothing_of_stripes}


def _take_few() -> None:
    """The nodes of a lab are fewer than those that gain by stripes."""
    cast("Any", agent).LEAST_STRIPES_FROM = 2


def _gather_for_longer() -> None:
    """On a machine that is busy with other things, six nodes do not ask within 0.2 s.

    A claim has to be waited for as much longer. What bounds it besides is the agent's registry.first_byte_timeout.
    """
    cast("Any", rush).GATHERED_SECONDS = GATHERED_SECONDS
    cast("Any", index_nodes)._PATIENCE = _CLAIM_SECONDS  # noqa: SLF001
    ask = cast("Any", peer.GrpcPeer)._ask  # noqa: SLF001

    async def ask_patiently(self: Any, method: str, request: Any, *, longer: float = 0) -> bytes:
        reply: bytes = await ask(self, method, request, longer=_CLAIM_SECONDS if method == "Claim" else longer)
        return reply

    cast("Any", peer.GrpcPeer)._ask = ask_patiently  # noqa: SLF001


if __name__ == "__main__":
    _take_few()
    _gather_for_longer()
    _tell_of_buffer()
    _MANNERS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
