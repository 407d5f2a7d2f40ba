"""The peers' bytes: `GET /v1/blobs/<digest>` with Range, out of this node's store and never out of another's.

The name that they are wanted for is in a header. The answer may wait for bytes that are arriving, and says what the
content is to the name: so a peer need not ask first whether the content is here (`registryd.cluster.fetch.opening`).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from registryd.content.sought import REPOSITORY_HEADER, STANDING_HEADER, STRIPE_HEADER, WAIT_HEADER, Sought
from registryd.content.source import ContentUnavailable
from registryd.identity.requester import Requester
from registryd.identity.ticket import TICKET_HEADER
from registryd.observability.metrics import Nearness
from registryd.oci.digest import Digest
from registryd.oci.errors import BlobUnknown, MethodUnsupported, OciError, PathUnknown, RangeInvalid, Unavailable
from registryd.oci.reference import Repository
from registryd.serving.connections import ConnectionLimits
from registryd.serving.errors import error_response
from registryd.serving.sending import RequestedRange, send_content, send_head
from registryd.serving.transfers import Transfers
from registryd.transfer.allowance import Priority
from registryd.transfer.striping import STRIPES
from registryd.transfer.uploads import PART_HEADER, PRIORITY_HEADER, Part, UploadRefused, Uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLObject

    from registryd.content.ledger import Ledger
    from registryd.content.source import EntitledSource, OpenContent
    from registryd.identity.ticket import Tickets
    from registryd.serving.sending import Delivery
    from registryd.transfer.uploads import Socket

# Seconds in which a receiver takes nothing: then its place is for another receiver, and it can go on elsewhere.
_RECEIVER_PATIENCE: Final = 20.0
# Seconds. A peer that is told so has others to ask; a body takes some seconds.
_RETRY_AFTER: Final = 1.0
# Peers keep connections for the next body (transfer.http.pool), for less time, so that the peers close them. With TLS a
# connection costs 30 KB, and 115 after a body: in a large cluster the door cannot wait for every peer that asked
# lately.
CONNECTION_LIMITS: Final = ConnectionLimits(of_address=128, idle_at_once=128, idle_seconds=45.0)

_STRIPE: Final = re.compile(rf"[0-{STRIPES - 1}]", re.ASCII)
_PATH: Final = re.compile(r"/v1/blobs/(?P<digest>[^/]+)", re.ASCII)
_MILLISECONDS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


class WaitArrival(Protocol):
    """Looks for content, and waits until more than `beyond` bytes are here if it is arriving, for so long at most.

    Bounds how long, and how many wait at once. Raises ContentUnavailable.
    """

    async def __call__(self, sought: Sought, *, beyond: int, seconds: float) -> object: ...


class PeerBytesDoor:
    """Gives peers the content of this node's store. The door holds a store, and no part that could ask other nodes."""

    def __init__(  # noqa: PLR0913 - what a door has to know, each by name
        self,
        *,
        store: EntitledSource,
        ledger: Ledger,
        uploads: Uploads | None = None,
        tickets: Tickets | None = None,
        transfers: Transfers | None = None,
        still_accepts: Callable[[SSLObject | None], bool] = lambda _: True,
        nearness_of: Callable[[str], Nearness] = lambda _: Nearness.UNKNOWN,
        wait_arrival: WaitArrival | None = None,
    ) -> None:
        """Make it of what it gives from and what it counts with.

        `uploads` limits how much is sent at once, `still_accepts` is ServerCredentials', `nearness_of` says of an IP
        address whether it is in this node's zone. `wait_arrival` is asked where a peer says that the answer may wait.

        `tickets`, where members cannot prove themselves by TLS: then only who carries one is answered.
        """
        self._store = store
        self._ledger = ledger
        self._uploads = uploads or Uploads()
        self._tickets = tickets
        self._transfers = Transfers() if transfers is None else transfers
        self._still_accepts = still_accepts
        self._nearness_of = nearness_of
        self._wait_arrival = wait_arrival

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of a peer."""
        if request.transport and not self._still_accepts(request.transport.get_extra_info("ssl_object")):
            # As if it had been idle for too long: a member connects again.
            request.transport.close()
            return web.Response()
        try:
            if request.method not in {"GET", "HEAD"}:
                raise MethodUnsupported("peers fetch: GET and HEAD")
            match = _PATH.fullmatch(request.path)
            if match is None:
                raise PathUnknown("peers fetch /v1/blobs/<digest>")
            name = request.headers.get(REPOSITORY_HEADER)
            stripe = _stripe_of(request)
            sought = Sought(Digest.parse(match["digest"]), Repository.parse(name) if name else None, stripe=stripe)
            if not self._admits(request, sought):
                raise BlobUnknown("nothing is here without a ticket")
            return await self._answer(request, sought)
        except OciError as error:
            return error_response(error)
        except UploadRefused as error:
            return error_response(Unavailable(str(error), retry_after=_RETRY_AFTER))

    def _admits(self, request: web.BaseRequest, sought: Sought) -> bool:
        if self._tickets is None:
            return True
        return self._tickets.admits(request.headers.get(TICKET_HEADER), str(sought), Requester(request.remote or ""))

    async def _answer(self, request: web.BaseRequest, sought: Sought) -> web.StreamResponse:
        try:
            if request.method == "HEAD":
                return await send_head(request, await self._store.find(sought))
            part = Part.named(request.headers.get(PART_HEADER, ""))
            priority = Priority.named(request.headers.get(PRIORITY_HEADER, ""))
            receiver = request.remote or ""
            wanted = RequestedRange.of(request)
            if self._wait_arrival and (seconds := _wait_of(request)) and wanted.start is not None:
                await self._wait_arrival(sought, beyond=wanted.start, seconds=seconds)
            with self._uploads.begin(
                _socket_of(request),
                part,
                receiver=receiver,
                priority=priority,
                is_stripe=sought.stripe is not None,
            ):
                opened = await self._store.open(sought, wanted)
                delivery = await self._send(request, opened, wanted)
        except ContentUnavailable as reason:
            raise BlobUnknown(f"{sought.digest}: {reason}") from reason
        return delivery.response

    async def _send(self, request: web.BaseRequest, opened: OpenContent, wanted: RequestedRange) -> Delivery:
        receiver = request.remote or "a peer"
        with self._transfers.transfer(opened, name="", source="local", receiver=receiver) as transfer:
            nearness = self._nearness_of(request.remote or "")
            head = wanted.head_of(opened)
            if opened.content.standing is not None:
                head.headers[STANDING_HEADER] = opened.content.standing.header
            count = partial(self._ledger.sent_to_peer, opened.content.digest, nearness=nearness)
            delivery = await send_content(
                request,
                opened,
                head,
                on_sent=count,
                follow=transfer.follow,
                patience=_RECEIVER_PATIENCE,
            )
            transfer.outcome = f"broken: {delivery.failure}" if delivery.failure else "done"
            return delivery


def _socket_of(request: web.BaseRequest) -> Socket | None:
    connection: Socket | None = request.transport.get_extra_info("socket") if request.transport else None
    return connection


def _stripe_of(request: web.BaseRequest) -> int | None:
    """The stripe that is wanted, None for all of the content. Raises RangeInvalid."""
    text = request.headers.get(STRIPE_HEADER)
    if text is None:
        return None
    if not _STRIPE.fullmatch(text):
        raise RangeInvalid(f"there is no stripe {text[:20]!r}", size=0)
    return int(text)


def _wait_of(request: web.BaseRequest) -> float:
    """For how many seconds the answer may wait."""
    text = request.headers.get(WAIT_HEADER, "")
    return int(text) / 1000 if _MILLISECONDS.fullmatch(text) else 0.0
