"""The local registry: what containerd asks first, and is answered quickly or sent on quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

from aiohttp import web

from registryd.aio.unexpected import note_unexpected
from registryd.content.asker import AskAgain, Askers, asked_by
from registryd.content.background import Background
from registryd.content.ledger import Ledger
from registryd.content.lookup import Origin
from registryd.identity.node_token import TOKEN_HEADER
from registryd.oci.digest import Digest
from registryd.oci.errors import MethodUnsupported, OciError, PathUnknown
from registryd.serving.cache_status import cache_status
from registryd.serving.connections import has_begun
from registryd.serving.errors import error_response
from registryd.serving.listing import answer_list
from registryd.serving.locating import Unlocated
from registryd.serving.multipart import RangeList, open_parts
from registryd.serving.paths import ApiBase, BlobPath, ManifestPath, ReferrersPath, TagsPath, parse_path
from registryd.serving.preferring import Preference
from registryd.serving.record import RequestRecord
from registryd.serving.sending import RequestedRange, send_content, send_head, send_nothing
from registryd.serving.transfers import Transfers
from registryd.transfer.sure import SureBytes
from registryd.version import SERVER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from registryd.content.aftermath import Aftermath
    from registryd.content.asker import Asker
    from registryd.content.lookup import Hit
    from registryd.content.source import Content, OpenContent, RangeOf
    from registryd.observability.metrics import Metrics
    from registryd.oci.reference import Registry
    from registryd.serving.admission import Admission
    from registryd.serving.listing import Lists
    from registryd.serving.paths import ContentPath, ListPath
    from registryd.serving.preferring import Bringing
    from registryd.serving.sending import Delivery
    from registryd.transfer.sink import Sink


_OF_THE_BASE: Final = {"Docker-Distribution-API-Version": "registry/2.0", "Server": SERVER}


class Locating(Protocol):
    """Finds the content of a path; content that the node must not give raises Unlocated."""

    async def find(self, path: ContentPath) -> Hit[Content]:
        """The answer to a HEAD."""

    async def open(self, path: ContentPath, wanted: RangeOf) -> Hit[OpenContent]:
        """The answer to a GET; the caller closes its body. Raises RangeInvalid besides."""


class RegistryDoor:
    """Answers the pull side of the distribution API; 404 is the answer to everything that it cannot do well."""

    def __init__(  # noqa: PLR0913 - its parts, all named
        self,
        *,
        locator: Locating,
        metrics: Metrics,
        ledger: Ledger | None = None,
        admission: Admission | None = None,
        stored: Locating | None = None,
        local: Locating | None = None,
        default: Registry | None = None,
        lists: Lists | None = None,
        wholes: Bringing | None = None,
        aftermath: Aftermath | None = None,
        transfers: Transfers | None = None,
        sure: SureBytes | None = None,
        background: Background | None = None,
    ) -> None:
        """`admission` is the node's token, if it has one: then only who carries it is answered.

        `aftermath` finds out whether what peers gave was right.

        `sure` follows what containerd asks for and is given. `background` is told of each pull that begins.

        `stored` is asked instead of `locator` by requests that want what is here already and nothing fetched for them
        (`Cache-Control: only-if-cached`, RFC 9111 section 5.2.1.7).

        `lists` has lists of referrers, and perhaps of tags; without it there are none.

        `local` is asked for several ranges at once, which nobody else is. `default` is the registry of those who name
        none.

        `wholes` has images stored as a whole for those who prefer it so (`registryd.serving.preferring`).
        """
        self._locator = locator
        self._stored = stored or locator
        self._local = local or self._stored
        self._default = default
        self._lists = lists
        self._wholes = wholes
        self._metrics = metrics
        self._ledger = ledger or Ledger(metrics)
        self._admission = admission
        self._aftermath = aftermath
        self._transfers = Transfers() if transfers is None else transfers
        self._sure = sure or SureBytes()
        self._background = background or Background()
        self._askers = Askers()
        self._uses: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure that is no bug has an answer of its own."""
        self._note_use(request.transport)
        try:
            return await self._answered(request)
        except OciError as error:
            return error_response(error)
        except Exception as error:
            if has_begun(request):
                raise  # the door ends the connection
            # containerd goes on to its next endpoint, as after any miss.
            note_unexpected("answering a request", error)
            return error_response(PathUnknown("this could not be found out"))

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._admission and not self._admission.admits(request.headers.get(TOKEN_HEADER)):
            # Like any miss and never a 401: after that containerd would send us the pull's credentials.
            raise PathUnknown("nothing is here")
        if request.method not in {"GET", "HEAD"}:
            raise MethodUnsupported("registryd only serves pulls: GET and HEAD")
        path = parse_path(request.path, namespace=_namespace_of(request), default=self._default)
        if isinstance(path, ApiBase):
            return web.json_response({}, headers=_OF_THE_BASE)
        return await self._answer(request, path)

    async def _answer(self, request: web.BaseRequest, path: ContentPath | ListPath) -> web.StreamResponse:
        record = RequestRecord(self._metrics, self._ledger, request, path)
        try:
            if isinstance(path, ReferrersPath | TagsPath):
                return await answer_list(self._lists, request, path, record)
            if request.method == "HEAD":
                if isinstance(path, ManifestPath):  # containerd begins a pull with this
                    self._background.asked(path.repository, path.reference)
                return await self._head(request, path, record)
            if isinstance(path, BlobPath) and (ranges := RangeList.of(request)):
                return await self._get_parts(request, path, record, ranges)
            wanted = RequestedRange.of(request)
            asker = self._askers.of(request.headers.get("User-Agent"), asks_for_all=wanted.names_all)
            if asker.waits and (start := wanted.start) is not None:
                digest = path.reference if isinstance(path.reference, Digest) else None
                self._sure.asked(digest, start, in_chunks=wanted.names_all)
            with asked_by(asker):
                return await self._get(request, path, record, wanted, asker)
        except Unlocated as no:
            record.unlocated(no)
            raise no.error from no
        finally:
            record.close()

    async def _head(self, request: web.BaseRequest, path: ContentPath, record: RequestRecord) -> web.StreamResponse:
        hit = await self._locator_for(request).find(path)
        record.located(hit.origin)
        return await send_head(request, hit.value, headers=cache_status(hit))

    async def _get(
        self, request: web.BaseRequest, path: ContentPath, record: RequestRecord, wanted: RequestedRange, asker: Asker
    ) -> web.StreamResponse:
        if self._aftermath and isinstance(path.reference, Digest) and not wanted.is_partial:
            await self._aftermath.asked_again(path.reference)
        try:
            hit = await self._locator_for(request).open(path, wanted)
        except AskAgain as again:
            record.put_off()
            return await send_nothing(request, again.size, wanted)
        record.located(hit.origin)
        response = wanted.head_of(hit.value)
        response.headers.update({**cache_status(hit), **await self._as_preferred(request, path, hit.value)})
        delivery = await self._send(request, hit, response, record, name=str(path))
        if not delivery.failure and hit.origin is Origin.PEER and asker.waits:
            self._note_delivery(hit.value, request.transport)
        return delivery.response

    async def _get_parts(
        self, request: web.BaseRequest, path: BlobPath, record: RequestRecord, ranges: RangeList
    ) -> web.StreamResponse:
        hit, response = await open_parts(self._local, path, ranges)
        record.located(hit.origin)
        response.headers.update(cache_status(hit))
        return (await self._send(request, hit, response, record, name=str(path))).response

    async def _as_preferred(
        self, request: web.BaseRequest, path: ContentPath, opened: OpenContent
    ) -> Mapping[str, str]:
        """What there is to say of a preference; the content is closed if finding out is cancelled."""
        preference = Preference.parse(request.headers.get("Prefer")) if self._wholes else None
        if not self._wholes or not preference or isinstance(path, BlobPath):
            return {}
        try:
            root, fetches = opened.content.digest, not _wants_stored_only(request)
            whole = await self._wholes.bring(path.repository, root, preference.platforms, fetches=fetches)
        except BaseException:
            await opened.body.aclose()
            raise
        return {"Preference-Applied": whole.applied()} if whole else {}

    async def _send(
        self,
        request: web.BaseRequest,
        hit: Hit[OpenContent],
        response: web.StreamResponse,
        record: RequestRecord,
        *,
        name: str,
    ) -> Delivery:
        def follow(sink: Sink) -> None:
            transfer.follow(sink)
            given.follow(sink)

        record.opened(hit.value.content.digest)
        opened, source = hit.value, hit.origin.value
        with (
            self._transfers.transfer(opened, name=name, source=source, receiver="containerd") as transfer,
            self._sure.giving(opened.content.digest, opened.span.start) as given,
        ):
            delivery = await send_content(request, opened, response, on_sent=record.sent, follow=follow)
            transfer.outcome = f"broken: {delivery.failure}" if delivery.failure else "done"
        if delivery.failure:
            record.interrupted(delivery.failure)
        else:
            record.delivered()
        return delivery

    def _note_delivery(self, given: OpenContent, connection: asyncio.Transport | None) -> None:
        if self._aftermath and connection and given.span.stop == given.content.size:
            uses = self._uses.get(connection, 0)

            def is_connected() -> bool:
                # HTTP/1.1: who asks for something else has read all of the answer before.
                return not connection.is_closing() or self._uses.get(connection, 0) > uses

            self._aftermath.delivered(given.content, is_connected=is_connected)

    def _note_use(self, connection: asyncio.Transport | None) -> None:
        if self._aftermath and connection:
            self._uses[connection] = self._uses.get(connection, 0) + 1

    def _locator_for(self, request: web.BaseRequest) -> Locating:
        return self._stored if _wants_stored_only(request) else self._locator


def _namespace_of(request: web.BaseRequest) -> str | None:
    """The registry that the client means: `ns=` of containerd, or OCI-Namespace of the distribution-spec to come."""
    return request.query.get("ns", request.headers.get("OCI-Namespace"))


def _wants_stored_only(request: web.BaseRequest) -> bool:
    return "only-if-cached" in request.headers.get("Cache-Control", "")
