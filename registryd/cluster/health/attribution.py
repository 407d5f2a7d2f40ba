"""Which nodes gave which large content, until it is known whether it was right; penalties for wrong content."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.expiring import ExpiringSet
from registryd.aio.recent import Recent
from registryd.cluster.errors import PeerDeclined
from registryd.content.asker import current_asker
from registryd.content.source import ContentUnavailable
from registryd.transfer.monitoring.thresholds import TAINTED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.aio.scope import Scope
    from registryd.cluster.members.offer import Offer
    from registryd.content.source import Content
    from registryd.oci.digest import Digest

_log = logging.getLogger(__name__)

# Contents whose givers are kept in mind: a node pulls three layers at a time for each image; what was given before that
# and never came to an end is of no interest.
_REMEMBERED: Final = 1000


class Penalties(Protocol):
    """The part that decides which members the agent asks."""

    def blame(self, offer: Offer, *, is_certain: bool) -> None:
        """Do not ask it for this content for a while; longer when it is certain that it was the one."""


@dataclass(frozen=True, slots=True)
class _Givers:
    offers: Mapping[str, Offer]
    gave_all: bool
    """Whether the first of them gave it from its first byte. Who gave what came before may be nobody of these."""


_NOBODY: Final = _Givers({}, gave_all=False)


class DeliveryAttribution:
    """Several nodes may have given parts of one content. It is not known which part was wrong, so all are suspected.

    This costs innocent nodes little: for a moment the agent does not ask them for this content, and they check their
    copy. After that all content that nodes have whole comes from one at a time for a while, so that the agent detects
    the bad node and does not avoid the others. (All, because each layer of an image would cost another try.)
    """

    def __init__(self, asking: Penalties, scope: Scope) -> None:
        """Messages to suspects are sent in the scope."""
        self._asking = asking
        self._scope = scope
        self._givers: Recent[Digest, _Givers] = Recent(_REMEMBERED)
        self._tainted: ExpiringSet[Digest] = ExpiringSet(lifetime=TAINTED_SECONDS, capacity=_REMEMBERED)
        self._unattributed: ExpiringSet[Digest] = ExpiringSet(lifetime=TAINTED_SECONDS, capacity=_REMEMBERED)

    def gave(self, offer: Offer, *, from_start: bool) -> None:
        """A member begins to give content, from its first byte or what is left of it.

        Not to another client than a containerd: whether that keeps it is not to be seen, and what containerd gets at
        the same time may be another member's.
        """
        asker = current_asker()
        if asker is not None and not asker.waits:
            return
        digest = offer.content.digest
        before = None if from_start else self._givers.get(digest)
        before = before or _Givers({}, gave_all=from_start)
        self._givers.put(digest, replace(before, offers={**before.offers, str(offer.member.address): offer}))

    def await_verdict(self, digest: Digest) -> bool:
        """Whether anybody gave this content."""
        return self._givers.get(digest) is not None

    def may_be_shared_out(self, digest: Digest) -> bool:
        """Whether several nodes may give parts of it, since it is not to be found out who gives wrong bytes."""
        return not (self._unattributed or self.is_tainted(digest))

    def require_verified(self, content: Content) -> None:
        """Raise PeerDeclined for unverified content, if wrong bytes of it were seen."""
        if content.is_growing and self.is_tainted(content.digest):
            raise PeerDeclined(f"{content.digest} was wrong lately, and the peer is still receiving it")

    def kept(self, digest: Digest) -> None:
        """The content was right."""
        self._givers.drop(digest)

    def is_tainted(self, digest: Digest) -> bool:
        """Whether wrong bytes of it are about."""
        return digest in self._tainted

    def thrown_away(self, digest: Digest) -> None:
        """The content was wrong: its givers are not asked for it, and are told."""
        givers = self._take(digest)
        suspects, is_certain = givers.offers, givers.gave_all and len(givers.offers) == 1
        if suspects:
            elsewhere = "" if givers.gave_all else " or with what was there before"
            _log.warning("wrong bytes of %s came from %s%s", digest, ", ".join(suspects), elsewhere)
        if len(suspects) > 1:
            self._unattributed.add(digest)
        self._accuse(digest, suspects, is_certain=is_certain)

    def suspected(self, digest: Digest) -> None:
        """The content was perhaps wrong: for a moment its givers are not asked for it, and they are told."""
        suspects = self._take(digest).offers
        if suspects:
            _log.info("bytes of %s from %s were perhaps wrong", digest, ", ".join(suspects))
        self._accuse(digest, suspects, is_certain=False)

    def _take(self, digest: Digest) -> _Givers:
        givers = self._givers.get(digest) or _NOBODY
        self._givers.drop(digest)
        return givers

    def _accuse(self, digest: Digest, suspects: Mapping[str, Offer], *, is_certain: bool) -> None:
        self._tainted.add(digest)
        for offer in suspects.values():
            self._asking.blame(offer, is_certain=is_certain)
            self._scope.run(partial(_tell, offer), name=f"doubt {digest}")


async def _tell(offer: Offer) -> None:
    try:
        await offer.member.doubt(offer.content.digest)
    except ContentUnavailable as error:
        _log.info("%s cannot be asked to verify its copy: %s", offer.member.address, error)
