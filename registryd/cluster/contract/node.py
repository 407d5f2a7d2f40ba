"""The name of a node among its peers, and the port at which it gives bytes."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final, Self

_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
# 64 bits: among 5,000 nodes, two of one name once in a trillion clusters.
_ID_BYTES: Final = 8
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class NodeId:
    """The name of a running agent; raises ValueError when it is none."""

    text: str

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.text):
            raise ValueError(f"{self.text[:100]!r} is not a node id")

    @classmethod
    def random(cls) -> Self:
        """A name for an agent that starts."""
        return cls(secrets.token_hex(_ID_BYTES))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Node:
    """An agent as it introduces itself. `content_port` is that of its bytes door; 0: it has none.

    Raises ValueError for a port that is none.
    """

    id: NodeId
    content_port: int

    def __post_init__(self) -> None:
        if not 0 <= self.content_port <= _HIGHEST_PORT:
            raise ValueError(f"{self.content_port} is not a port")
