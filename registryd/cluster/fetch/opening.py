"""From an offer to bytes: small content whole and verified, large content as a body that streams."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from registryd.cluster.errors import ContentCorrupt, PeerDeclined, PeerUnreachable
from registryd.cluster.fetch.doors import Doors
from registryd.cluster.fetch.promised_sizes import PromisedSizes
from registryd.cluster.health.silence import GoneCheck, StuckCheck, everybody_has_a_source
from registryd.cluster.rpc.codec import sought_message
from registryd.content.blocked import Blocklist, require_unblocked
from registryd.content.hindrances import Hindrances
from registryd.content.sought import REPOSITORY_HEADER, STANDING_HEADER, STRIPE_HEADER, WAIT_HEADER, Standing
from registryd.content.source import ContentUnavailable, OpenContent
from registryd.identity.ticket import TICKET_HEADER
from registryd.observability.metrics import PeerTrouble
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.oci.ranges import Span
from registryd.transfer.allowance import Priority
from registryd.transfer.body import BytesBody, ChunksBody
from registryd.transfer.errors import SourceBroken, SourceBusy, SourceCutOff, SourceRefused
from registryd.transfer.http.connection import LOT_SECONDS
from registryd.transfer.http.fetch import STALL_TIMEOUT, fetch
from registryd.transfer.memory import read_all
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import DEFAULT_FLOOR, GROWING_FLOOR, STRIPE_FLOOR, FloorCheck
from registryd.transfer.monitoring.giving import Giving
from registryd.transfer.monitoring.thresholds import GIVING_STALL_TIMEOUT, HELD_UP_BYTES
from registryd.transfer.striping import STRIPES
from registryd.transfer.uploads import PART_HEADER, PRIORITY_HEADER, Part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from registryd.cluster.health.silence import HasSource
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.growing import Arrivals
    from registryd.content.sought import Sought
    from registryd.content.source import Content
    from registryd.identity.credentials import ClientCredentials
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.transfer.body import Body
    from registryd.transfer.http.pool import ConnectionPool
    from registryd.transfer.monitoring.body import Check

# Content up to this size comes by Read, whole: one round trip on a connection that exists, and it can be verified
# before its first byte is sent on.
SMALL_BYTES: Final = 1024 * 1024

# What gRPC says of a connection when the kernel finds no way to the host.
_NO_WAY: Final = frozenset({PeerTrouble.NO_ANSWER, PeerTrouble.NO_ROUTE})

# All of it: 1 MiB at 4 Mbit/s. Longer than a peer may be silent (limits.READ_START_TIMEOUT), which is told as such, and
# less than registry.first_byte_timeout, so that there is time for another source.
_SMALL_READ_SECONDS: Final = 2.0

# A stripe has an eighth of the link, and is passed on in whole pieces.
_STRIPE_LOT_SECONDS: Final = LOT_SECONDS * STRIPES


@dataclass(frozen=True, slots=True)
class DoorTimeouts:
    """Seconds until a door that does not answer is given up: peers are near, and others may have the content."""

    connect: float = 1.5  # on a full link a SYN is lost now and then; TCP sends the next one after a second
    first_byte: float = 1.5


class Opener:
    """Opens what peers offer. Raises ContentUnavailable or SourceBroken: the next offer may be better."""

    def __init__(  # noqa: PLR0913 - what it needs, and who is told, all named
        self,
        credentials: ClientCredentials,
        *,
        own: Arrivals | None = None,
        kept: ConnectionPool | None = None,
        learn: Callable[[Sought, Manifest], None] = lambda _sought, _manifest: None,
        on_received: Callable[[Digest, int, Address], None] = lambda _digest, _count, _from: None,
        blocklist: Blocklist | None = None,
        priority_of: Callable[[Sought], Priority] = lambda _sought: Priority.PULL,
        hindrances: Hindrances | None = None,
        has_source: HasSource = everybody_has_a_source,
        doors: Doors | None = None,
        timeouts: DoorTimeouts | None = None,
    ) -> None:
        """`own` is the content that this node is receiving itself: it knows the size of content that containerd wants.

        `kept` has the connections to doors between bodies; without it, each body has a connection of its own. `learn`
        is told of manifests that were read, `on_received` of the bytes that came through doors, `hindrances` of the
        time in which a source was held up; `has_source` says whether a node gives the content, or that stripe of
        it, to that one. `doors`: which may be asked for stripes at once. Blocked content is never opened, and is
        broken off.
        """
        self._credentials = credentials
        self._kept = kept
        self._timeouts = timeouts or DoorTimeouts()
        self._doors = doors or Doors()
        self._promised = PromisedSizes(own)
        self._learn = learn
        self._on_received = on_received
        self._blocklist = blocklist or Blocklist()
        self._priority_of = priority_of
        self._hindrances = hindrances or Hindrances()
        self._has_source = has_source
        self._giving: WeakValueDictionary[Address, Giving] = WeakValueDictionary()

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        """A span of the offered content, when its first byte is here.

        The member must have the content up to this byte. So a follower of a growing source is behind it, and stays
        behind: nodes whose sources die never wait for each other in a circle.
        """
        require_unblocked(self._blocklist, offer.sought)
        if span.length and offer.available <= span.start:
            raise PeerDeclined(f"{offer.member.address} has only {offer.available} bytes yet")
        if offer.sought.stripe is not None:  # whose size follows from that of the content
            return OpenContent(offer.content, span, await self._stream(offer, span))
        await self._promised.require(offer.content)
        if not is_small(offer.content):
            return OpenContent(offer.content, span, await self._stream(offer, span))
        content, data = await self._read_verified(offer)
        return OpenContent(content, span, BytesBody(data[span.start : span.stop]))

    def unasked(self, member: Member) -> Address | None:
        """The door that may be asked for a stripe at once; None: the member is to be asked first."""
        return self._doors.unasked(member)

    async def open_unasked(self, offer: Offer, span: Span, *, seconds: float) -> Body:
        """A span of a stripe from a member that has not been asked for it: `offer` has what it would have to say.

        Its door may wait for the first byte for so many seconds. Only the bytes are a yes, and only with what they are
        to the repository that they are wanted for. Raises SourceBroken when the member is to be asked why not,
        SourceRefused when its door answered; PeerDeclined when the member has no place now.
        """
        require_unblocked(self._blocklist, offer.sought)
        if offer.door is None:
            raise SourceBroken(f"it is not known where {offer.member.address} gives bytes")
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            body = await self._fetch(offer.door, offer, span, Part.FIRST, unasked_seconds=seconds)
        except SourceBusy as error:
            offer.member.answered()
            raise PeerDeclined(f"{offer.door}: {error}") from error
        except SourceBroken as error:
            is_answer = isinstance(error, SourceRefused)
            if is_answer:
                offer.member.answered()
            has_waited = is_answer and now() - begun >= seconds
            if not has_waited:  # it has none, or is of an older version
                self._doors.ask_first(offer.member)
            raise
        offer.member.answered()
        return self._watched(offer, body)

    async def open_part(self, offer: Offer, span: Span, part: Part) -> Body:
        """A part of large content of which this offer, or another one, was opened before."""
        return await self._stream(offer, span, part)

    async def confirm(self, offer: Offer) -> Content:
        """The offered content; a manifest is read, so that its size is certain and its media type its own."""
        content = offer.content
        require_unblocked(self._blocklist, offer.sought)
        await self._promised.require(content)
        if not (is_manifest_type(content.media_type) and is_small(content)):
            return content
        verified, _ = await self._read_verified(offer)
        return verified

    async def _read_verified(self, offer: Offer) -> tuple[Content, bytes]:
        """Small content, whole; a manifest's own media type counts, not the one that the peer said."""
        data = await _read_whole(offer)
        # No manifest at the member refers yet to content that has just arrived there: only the document itself tells
        # its type.
        is_untold = offer.content.is_growing and offer.content.media_type is None
        if not is_untold and not is_manifest_type(offer.content.media_type):
            return offer.content, data
        try:
            manifest = parse_manifest(data)
        except ManifestInvalid as error:
            if is_untold:
                return offer.content, data
            raise ContentCorrupt(f"{offer.content.digest} was offered as a manifest: {error}") from error
        self._promised.learn(manifest)
        self._learn(offer.sought, manifest)
        return replace(offer.content, media_type=manifest.media_type), data

    async def _stream(self, offer: Offer, span: Span, part: Part = Part.FIRST) -> Body:
        return self._watched(offer, await self._unwatched(offer, span, part))

    def _watched(self, offer: Offer, body: Body) -> Body:
        giving = self._giving.setdefault(offer.member.address, Giving())
        return self._blocklist.guard(offer.sought, MonitoredBody(body, *self._checks(offer, giving), giving=giving))

    def _checks(self, offer: Offer, giving: Giving) -> list[Check]:
        is_stripe = offer.sought.stripe is not None
        if not offer.content.is_growing:
            return [FloorCheck(STRIPE_FLOOR) if is_stripe else FloorCheck(DEFAULT_FLOOR, giving=giving)]

        def excused(seconds: float) -> None:
            self._hindrances.waited(offer.content.digest, seconds, offer.member.address)

        stuck = StuckCheck(
            offer.member,
            offer.sought,
            has_source=self._has_source,
            on_excused=excused,
            step_bytes=HELD_UP_BYTES // STRIPES if is_stripe else HELD_UP_BYTES,
        )
        return [FloorCheck(STRIPE_FLOOR if is_stripe else GROWING_FLOOR, stuck), GoneCheck(offer.member), stuck]

    async def _unwatched(self, offer: Offer, span: Span, part: Part) -> Body:
        door = offer.door
        if door is None or self._doors.is_closed(door):
            return await _read_started(offer, span)
        try:
            body = await self._fetch(door, offer, span, part)
        except SourceRefused as error:
            # The member was reached and said no: another way to ask would give the same answer.
            offer.member.answered()
            raise PeerDeclined(f"{door}: {error}") from error
        except SourceBroken:
            self._doors.close(door)
            offer.member.doubted()
            return await _read_started(offer, span)
        offer.member.answered()
        return body

    async def _fetch(
        self, door: Address, offer: Offer, span: Span, part: Part, *, unasked_seconds: float = 0.0
    ) -> Body:
        """`unasked_seconds`: the member has not been asked before, and its door may wait for so long."""
        digest, source = offer.content.digest, offer.member.address
        headers = _headers(offer, part, self._priority_of(offer.sought))

        def require_standing(said: Mapping[str, str]) -> None:
            standing = Standing.named(said.get(STANDING_HEADER.lower(), ""))
            if standing is None or not offer.sought.accepts(standing):
                raise SourceBroken(f"{door} does not say that it is for {offer.sought.repository}")

        return await fetch(
            (door.host, door.port),
            blob_path(digest),
            span=span,
            size=offer.content.size,
            # A member that hands out a ticket has a door without TLS.
            ssl=None if offer.ticket else self._credentials.client_context(),
            headers=(*headers, (WAIT_HEADER, str(round(unasked_seconds * 1000)))) if unasked_seconds else headers,
            connect_timeout=self._timeouts.connect,
            first_byte_timeout=self._timeouts.first_byte + unasked_seconds,
            stall_timeout=_stall_timeout(offer),
            lot_seconds=LOT_SECONDS if offer.sought.stripe is None else _STRIPE_LOT_SECONDS,
            kept=self._kept,
            on_head=require_standing if unasked_seconds else lambda _: None,
            on_sent=lambda count: self._on_received(digest, count, source),
        )


def _stall_timeout(offer: Offer) -> float:
    # Checks leave a growing source before that.
    return GIVING_STALL_TIMEOUT if offer.content.is_growing else STALL_TIMEOUT


def _headers(offer: Offer, part: Part, priority: Priority) -> tuple[tuple[str, str], ...]:
    headers = {REPOSITORY_HEADER: sought_message(offer.sought), TICKET_HEADER: offer.ticket}
    if offer.sought.stripe is not None:
        headers[STRIPE_HEADER] = str(offer.sought.stripe)
    if part is not Part.FIRST:
        headers[PART_HEADER] = part.value
    if priority is not Priority.PULL:
        headers[PRIORITY_HEADER] = priority.value
    return tuple((name, value) for name, value in headers.items() if value)


def blob_path(digest: Digest) -> str:
    """The path of content at the bytes door."""
    return f"/v1/blobs/{digest}"


def is_small(content: Content) -> bool:
    """Whether content is read whole: all that is small, and all manifests of a size that a manifest may have."""
    limit = MAX_MANIFEST_SIZE if is_manifest_type(content.media_type) else SMALL_BYTES
    return content.size <= limit


async def _read_whole(offer: Offer) -> bytes:
    content = offer.content
    body = ChunksBody(_read(offer, Span.whole(content.size)), length=content.size)
    try:
        async with asyncio.timeout(_SMALL_READ_SECONDS):
            data = await read_all(body, limit=content.size)
    except TimeoutError as error:
        late = f"{offer.member.address} took too long over {content.size} bytes"
        # A member that is still receiving the content may be waiting itself, which is not its fault.
        raise (PeerDeclined(late) if content.is_growing else SourceBroken(late)) from error
    if not content.digest.verifies(data):
        raise ContentCorrupt(f"{offer.member.address} gave {content.size} bytes that are not {content.digest}")
    return data


async def _read_started(offer: Offer, span: Span) -> Body:
    chunks = _read(offer, span)
    await anext(chunks)
    return ChunksBody(chunks, length=span.length)


async def _read(offer: Offer, span: Span) -> AsyncGenerator[bytes, None]:
    """The chunks of a Read, after an empty one: when that is given, the first byte is here."""
    try:
        is_growing = offer.content.is_growing
        async with aclosing(offer.member.read(offer.sought, span, is_growing=is_growing)) as chunks:
            first = await anext(chunks, b"")
            yield b""
            yield first
            async for chunk in chunks:
                yield chunk
    except ContentUnavailable as error:
        is_cut_off = isinstance(error, PeerUnreachable) and error.trouble in _NO_WAY
        raise (SourceCutOff if is_cut_off else SourceBroken)(str(error)) from error
