"""The counts and the log line of one request of containerd."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from registryd.content.lookup import Origin
from registryd.content.trial import TRIAL_PATH
from registryd.observability.metrics import ContentKind, Method, Outcome, Source
from registryd.oci.digest import Digest
from registryd.serving.paths import BlobPath, ManifestPath
from registryd.transfer.errors import SinkClosed, SourceBroken

if TYPE_CHECKING:
    from aiohttp import web

    from registryd.content.ledger import Ledger
    from registryd.content.pull_log import LoggedPull
    from registryd.observability.metrics import Metrics
    from registryd.serving.locating import Unlocated
    from registryd.serving.paths import ContentPath, ListPath

_log = logging.getLogger(__name__)

# W3C Trace Context; version 00 has 55 characters, and later ones may have more.
_TRACE_HEADER = "traceparent"
_LONGEST_TRACE = 128

_OUTCOMES = {Origin.LOCAL: Outcome.LOCAL, Origin.PEER: Outcome.PEER, Origin.UPSTREAM: Outcome.UPSTREAM}
_SOURCES = {Origin.LOCAL: Source.LOCAL, Origin.PEER: Source.PEER, Origin.UPSTREAM: Source.UPSTREAM}


class RequestRecord:
    """Follows a request from its head to its last byte; closed once on every path.

    A request whose body breaks counts as an error, not as the hit that it began as.
    """

    def __init__(
        self, metrics: Metrics, ledger: Ledger, request: web.BaseRequest, path: ContentPath | ListPath
    ) -> None:
        self._metrics = metrics
        self._ledger = ledger
        self._path = path
        self._method = Method(request.method)
        self._began = asyncio.get_running_loop().time()
        self._origin: Origin | None = None
        self._outcome = Outcome.ERROR
        self._sent = 0
        self._is_given_up = False
        self._digest: Digest | None = None
        self._waited = 0.0
        self._reason = ""
        self._pull = self._pull_of(request, path)

    def located(self, origin: Origin) -> None:
        """A source showed the first byte."""
        self._origin = origin
        self._outcome = _OUTCOMES[origin]
        self._waited = self._elapsed()
        self._metrics.first_byte(self._elapsed(), outcome=self._outcome)

    def unlocated(self, no: Unlocated) -> None:
        """Note that no source had it; containerd is sent on."""
        self._outcome = Outcome.MISS if no.is_miss else Outcome.ERROR
        self._waited, self._reason = self._elapsed(), no.why
        self._metrics.first_byte(self._elapsed(), outcome=self._outcome)
        if not no.is_miss:
            _log.warning("not served", extra={"content": str(no)})

    def put_off(self) -> None:
        """Note that containerd is to ask again, when it has begun to fetch something else."""
        self._outcome = Outcome.PUT_OFF

    def opened(self, digest: Digest) -> None:
        """This is what will be handed over."""
        self._digest = digest
        self._is_given_up = True  # until it ends: a client that hangs up cancels the request

    def delivered(self) -> None:
        """The body was handed over to its end."""
        self._is_given_up = False

    def sent(self, count: int) -> None:
        """So many bytes of a body were handed over."""
        self._sent = count

    def interrupted(self, failure: SourceBroken | SinkClosed) -> None:
        """The body ended early; a client that changes its mind is no error."""
        self._is_given_up = isinstance(failure, SinkClosed)
        if isinstance(failure, SourceBroken):
            self._outcome = Outcome.ERROR
            _log.warning(
                "a body ended early", extra={"content": str(self._path), "sent": self._sent, "why": str(failure)}
            )

    def close(self) -> None:
        """The request is over."""
        if not self._is_of_trial():
            self._metrics.request(self._outcome, kind=_kind_of(self._path), method=self._method)
        if self._origin and self._digest:
            registry = str(self._path.repository.registry)
            self._ledger.handed_over(self._digest, self._sent, registry=registry, source=_SOURCES[self._origin])
        if self._pull is not None:
            self._tell_pull(self._pull)
        _log.debug(
            "request",
            extra={
                "method": self._method.value,
                "content": str(self._path),
                "outcome": self._outcome.value,
                "sent": self._sent,
                "seconds": round(self._elapsed(), 4),
            },
        )

    def _pull_of(self, request: web.BaseRequest, path: ContentPath | ListPath) -> LoggedPull | None:
        if not isinstance(path, ManifestPath | BlobPath) or path.repository.path == TRIAL_PATH:
            return None
        traceparent = request.headers.get(_TRACE_HEADER, "")[:_LONGEST_TRACE]
        return self._ledger.pulls.begins(path.repository, path.reference, traceparent=traceparent)

    def _tell_pull(self, pull: LoggedPull) -> None:
        pulls, asked = self._ledger.pulls, getattr(self._path, "reference", None)
        if self._origin and self._digest:
            is_broken = self._outcome is Outcome.ERROR
            is_local = self._origin is Origin.LOCAL
            given_up = self._is_given_up
            pulls.given(pull, self._digest, self._sent, is_local=is_local, is_broken=is_broken, is_given_up=given_up)
        elif self._reason and self._method is Method.GET and isinstance(asked, Digest):
            pulls.missed(pull, asked, self._reason)
        pulls.ends(pull, waited=self._waited)

    def _is_of_trial(self) -> bool:
        asked = getattr(self._path, "reference", None)
        return isinstance(asked, Digest) and self._ledger.is_trial(asked)

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._began


def _kind_of(path: ContentPath | ListPath) -> ContentKind:
    if isinstance(path, ManifestPath):
        return ContentKind.MANIFEST
    return ContentKind.BLOB if isinstance(path, BlobPath) else ContentKind.LIST
