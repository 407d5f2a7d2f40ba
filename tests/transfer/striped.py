"""What the stripes of a content are, piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.transfer.striping import reach

if TYPE_CHECKING:
    from registryd.oci.ranges import Span


def within(stripes: list[bytes], span: Span) -> list[bytes]:
    """The bytes of each of these stripes that are in that span of the content."""
    return [part[reach(number, span.start) : reach(number, span.stop)] for number, part in enumerate(stripes)]
