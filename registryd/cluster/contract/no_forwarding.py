"""This node alone answers a request of a peer.

With forwarding, two nodes could ask each other in circles, and one question could become as many as there are nodes. So
the server marks its work on behalf of a peer. Code that would ask other nodes refuses to work under this mark, however
the parts are put together.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contextvars import Token

_answering_peer: Final = ContextVar("answering_peer", default=False)


class ForwardingRefused(Exception):
    """Someone has given the server a source that asks other nodes: a mistake in putting the agent together."""


class AnsweringPeer:
    """Marks what is done in a `with` block, in tasks that it starts too, as done on behalf of a peer."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[bool] = _answering_peer.set(True)

    def __exit__(self, *_: object) -> None:
        _answering_peer.reset(self._token)


def refuse_to_forward() -> None:
    """Raise ForwardingRefused when this is done on behalf of a peer."""
    if _answering_peer.get():
        raise ForwardingRefused("a peer's request would be forwarded to other nodes")
