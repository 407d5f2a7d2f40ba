"""The stripes of a content: eight parts that come to a node side by side, each from another node.

Stripe `i` has every eighth piece of 128 KiB, from piece `i` on. A byte of a stripe has a position in the stripe and one
in the content. In a wave each node passes on one stripe, so no node's link is idle (SplitStream, SOSP 2003).
"""

from __future__ import annotations

from typing import Final

from registryd.oci.ranges import Span

# Eight, because a tree in which each node has eight others below it is four levels deep at 5,000 nodes. So few nodes
# are above any node, and rarely more than one or two of its stripes come by way of a slow one.
STRIPES: Final = 8
# What agents pass on at a time (registryd.transfer.inflow).
PIECE_BYTES: Final = 128 * 1024
ROW_BYTES: Final = STRIPES * PIECE_BYTES


def stripe_of(position: int) -> int:
    """The stripe of the byte at that position of the content."""
    return position // PIECE_BYTES % STRIPES


def reach(stripe: int, count: int) -> int:
    """How many bytes of the stripe are among the first `count` bytes of the content."""
    rows, rest = divmod(count, ROW_BYTES)
    beyond = rest - stripe * PIECE_BYTES
    return rows * PIECE_BYTES + (min(beyond, PIECE_BYTES) if beyond > 0 else 0)


def place(stripe: int, position: int, size: int) -> Span:
    """The bytes of the content, of `size` bytes, from that position of the stripe on, as far as they are together."""
    row, rest = divmod(position, PIECE_BYTES)
    begin = row * ROW_BYTES + stripe * PIECE_BYTES
    return Span(begin + rest, max(begin + rest, min(begin + PIECE_BYTES, size)))
