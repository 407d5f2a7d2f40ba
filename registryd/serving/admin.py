"""The admin port: probes, metrics, how this agent and its cluster are, and a page that shows it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from registryd.content.background import Announced, TooManyAnnounced
from registryd.content.trial import TooManyTrials
from registryd.json_text import parse_json
from registryd.observability.prometheus import CONTENT_TYPE
from registryd.oci.errors import OciError
from registryd.oci.reference import Repository, parse_reference
from registryd.serving.connections import leave_body_unread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from registryd.observability.metrics import Metrics

# Where the body of a request is read: it names a registry, or a repository.
BODIES_AT: Final = frozenset({"/trial", "/background"})
_LONGEST_QUESTION: Final = 4096
_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]*)?", re.ASCII)
_SHOWN: Final = frozenset({"/", "/status", "/cluster", "/checkup"})
_PAGES: Final = "/, /status, /cluster, /checkup, /livez, /readyz, /metrics\n"
# The page has its script and style in itself, and talks to no host but the agent.
_CONTENT_POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


class Overview(Protocol):
    """The report on a running agent, as JSON (docs/operations.md says what is in it)."""

    async def status(self, *, with_names: bool) -> Mapping[str, Any]:
        """This agent. Names and digests of content only if `with_names`: they are nobody else's business."""

    async def cluster(self, *, with_names: bool) -> Mapping[str, Any]:
        """The members, each as it says itself, and the whole; asks 32 of them, which takes two seconds at most."""

    async def checkup(self) -> Mapping[str, Any]:
        """The members, and whether they reach us and we them; takes eight seconds at most."""

    async def begin_trial(self, registry: str) -> Mapping[str, Any]:
        """Have a tiny image offered for a minute, by a member if possible, and say how to pull it.

        Raises ValueError for what is no registry, TooManyTrials.
        """

    def brings(self, announced: Announced, seconds: float) -> None:
        """The image is brought to this node by somebody for the next seconds: pulls go before it.

        Raises ValueError for too many seconds, TooManyAnnounced.
        """

    def ends(self, by: str) -> None:
        """That announcer brings nothing more."""


class AdminDoor:
    """`/livez`: the event loop turns. `/readyz`: the agent can serve, or why not. `/metrics`: Prometheus text.

    The rest is there once an overview is shown. Only this machine is told names of content, has the cluster examined,
    begins a trial and says what it brings.
    """

    def __init__(self, *, metrics: Metrics, not_ready: Callable[[], Awaitable[str | None]]) -> None:
        """`not_ready` tells in a few words what is missing, or None when nothing is."""
        self._metrics = metrics
        self._not_ready = not_ready
        self._overview: Overview | None = None

    def show(self, overview: Overview) -> None:
        """There is something to see from now on."""
        self._overview = overview

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path in BODIES_AT:
            return await self._begun(request)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path in _SHOWN:
            return await self._tell(request)
        return await self._probed(request.path)

    async def _probed(self, path: str) -> web.Response:
        match path:
            case "/livez":
                return web.Response(text="ok\n")
            case "/readyz":
                missing = await self._not_ready()
                return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)
            case "/metrics":
                return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})
        return web.Response(status=404, text=_PAGES)

    async def _tell(self, request: web.BaseRequest) -> web.Response:
        if not _is_asked_by_address(request):
            return web.Response(status=403, text="ask by address: a page of another site may have sent you here\n")
        if request.path == "/":
            return _page()
        if self._overview is None:
            return await self._nothing_to_tell()
        return await self._told(request.path, self._overview, is_from_here=_is_from_here(request))

    async def _told(self, path: str, overview: Overview, *, is_from_here: bool) -> web.Response:
        if path == "/status":
            return _json(await overview.status(with_names=is_from_here))
        if path == "/cluster":
            return _json(await overview.cluster(with_names=is_from_here))
        if not is_from_here:
            return web.Response(status=403, text="only this machine has its cluster examined\n")
        return _json(await overview.checkup())

    async def _nothing_to_tell(self) -> web.Response:
        """Not yet, or never: a cache by itself."""
        if missing := await self._not_ready():
            return web.Response(status=503, text=f"{missing}\n")
        return web.Response(status=404, text="a cache that is no member of a cluster has its /metrics only\n")

    async def _begun(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        # A browser asks before it sends this type to another site, and is not answered as it hopes.
        is_json = request.headers.get("Content-Type") == "application/json"
        if not (_is_from_here(request) and _is_asked_by_address(request) and is_json):
            return web.Response(status=403, text="only this machine begins a trial, or brings images\n")
        if self._overview is None:
            return await self._nothing_to_tell()
        try:
            return await self._done(request.path, parse_json(await _short_body(request)), self._overview)
        except (ValueError, LookupError, OciError) as error:
            return web.Response(status=400, text=f"{str(error)[:200]}\n")
        except (TooManyTrials, TooManyAnnounced) as error:
            return web.Response(status=429, text=f"{error}: try again when one is over, in a minute\n")

    @staticmethod
    async def _done(path: str, asked: Any, overview: Overview) -> web.Response:
        """Raises ValueError, LookupError or OciError for nonsense, and what an overview raises."""
        if not isinstance(asked, dict):
            raise ValueError("the body is no object of JSON")  # noqa: TRY004 - as any other nonsense
        if path == "/trial":
            return _json(await overview.begin_trial(_text(asked, "registry")))
        by = _text(asked, "by") if "by" in asked else ""
        if "repository" not in asked and by:
            overview.ends(by)
        else:
            overview.brings(_announced(asked, by), _seconds(asked))
        return web.Response(status=204)


def _announced(asked: Mapping[str, Any], by: str) -> Announced:
    """Raises ValueError, LookupError or OciError."""
    reference = parse_reference(_text(asked, "reference")) if "reference" in asked else None
    return Announced(Repository.parse(_text(asked, "repository")), reference, by)


def _text(asked: Mapping[str, Any], key: str) -> str:
    """Raises ValueError or LookupError."""
    if not isinstance(text := asked[key], str):
        raise ValueError(f"{key} is no text")  # noqa: TRY004 - as any other nonsense
    return text


def _seconds(asked: Mapping[str, Any]) -> float:
    """Raises ValueError or LookupError."""
    seconds = asked["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError("seconds is no number")  # noqa: TRY004 - as any other nonsense
    try:
        return float(seconds)
    except OverflowError:
        raise ValueError("seconds is too large a number") from None


async def _short_body(request: web.BaseRequest) -> bytes:
    """Raises ValueError for one that is longer than any question to this door."""
    body = b""
    async for data in request.content.iter_any():
        body += data
        if len(body) > _LONGEST_QUESTION:
            leave_body_unread(request)
            raise ValueError(f"the body is longer than {_LONGEST_QUESTION} bytes")
    return body


def _json(data: Mapping[str, Any]) -> web.Response:
    return web.json_response(data, headers={"Cache-Control": "no-store"})


def _page() -> web.Response:
    text = Path(__file__).with_name("dashboard.html").read_text(encoding="utf-8")
    headers = {"Content-Security-Policy": _CONTENT_POLICY, "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, content_type="text/html", headers=headers)


def _is_from_here(request: web.BaseRequest) -> bool:
    """Whether whoever asks is on this machine: has its loopback, or the very address that was asked.

    The door may be on the node's address for Prometheus; the system then asks from that address as well, and takes no
    packet with it from outside.
    """
    try:
        remote = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    asked = request.transport.get_extra_info("sockname") if request.transport else None
    return remote.is_loopback or (asked is not None and request.remote == asked[0])


def _is_asked_by_address(request: web.BaseRequest) -> bool:
    """Not by a name, which somebody may have let point here to read with a browser what only we may see."""
    host = _HOST.fullmatch(request.headers.get("Host", ""))
    if host is None:
        return False
    try:
        ipaddress.ip_address(host["ipv6"] or host["name"])
    except ValueError:
        return host["name"] == "localhost"
    return True
