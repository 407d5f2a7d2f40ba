"""The common result of the answers of many peers when none of them helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.errors import PeerSilent
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.observability.metrics import FindOutcome
from registryd.oci.errors import RangeInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of what each peer said, in the one line that is kept; there may be dozens of peers.
_REASONS_TOLD: Final = 5


class FindObserver(Protocol):
    """Is told how searches went; `registryd.observability.metrics.Metrics` is one."""

    def find(self, seconds: float, *, outcome: FindOutcome) -> None:
        """A search ended so long after it began: with its first offer, or without one."""


def find_outcome(reasons: Sequence[Exception]) -> FindOutcome:
    """How a search without an offer ended."""
    if not reasons:
        return FindOutcome.UNASKED
    if any(isinstance(reason, PeerSilent) for reason in reasons):
        return FindOutcome.TIMEOUT
    if all(isinstance(reason, ContentNotFound) for reason in reasons):
        return FindOutcome.ABSENT
    return FindOutcome.ERROR


def refusal(reasons: Sequence[Exception]) -> ContentUnavailable | RangeInvalid:
    """The one error that stands for all of them.

    RangeInvalid only if every peer that has the content says so: a single one may lie about the size.
    """
    if all(isinstance(reason, ContentNotFound) for reason in reasons):
        return ContentNotFound(f"none of {len(reasons)} peers has it")
    if all(isinstance(reason, RangeInvalid) for reason in reasons) and isinstance(reasons[0], RangeInvalid):
        return reasons[0]
    told = [str(reason) for reason in reasons if not isinstance(reason, ContentNotFound)]
    more = f"; and {len(told) - _REASONS_TOLD} more" if len(told) > _REASONS_TOLD else ""
    return ContentUnavailable("; ".join(told[:_REASONS_TOLD]) + more)
