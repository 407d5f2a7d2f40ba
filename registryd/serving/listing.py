"""Lists: what is attached to an image, and the tags of a repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode

from aiohttp import web

from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.errors import PathUnknown
from registryd.oci.referrers import parse_referrers, render_referrers
from registryd.serving.cache_status import cache_status
from registryd.serving.locating import Unlocated
from registryd.serving.paths import ReferrersPath, TagsPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.content.lookup import Hit
    from registryd.serving.paths import ListPath
    from registryd.serving.record import RequestRecord


@dataclass(frozen=True, slots=True)
class ListedTags:
    """Tags of a repository, and the query that asks for those after them, if there are any."""

    tags: Sequence[str]
    next_query: str = ""


class Lists(Protocol):
    """Both raise Unlocated for what is not given."""

    async def referrers(self, path: ReferrersPath, *, stored_only: bool) -> Hit[bytes]:
        """A list as an index (`registryd.oci.referrers`)."""

    async def tags(self, path: TagsPath, query: str, *, stored_only: bool) -> Hit[ListedTags]:
        """The tags for which the query asks."""


async def answer_list(
    lists: Lists | None, request: web.BaseRequest, path: ListPath, record: RequestRecord
) -> web.StreamResponse:
    """The response to a GET or HEAD. Raises OciError or Unlocated."""
    if lists is None:
        raise Unlocated(PathUnknown("there are no lists here"), is_miss=True)
    stored_only = "only-if-cached" in request.headers.get("Cache-Control", "")
    if isinstance(path, ReferrersPath):
        response = await _referrers(lists, request, path, record, stored_only=stored_only)
    else:
        response = await _tags(lists, request, path, record, stored_only=stored_only)
    if isinstance(response.body, bytes) and request.method == "GET":
        record.sent(len(response.body))
    return response


async def _referrers(
    lists: Lists, request: web.BaseRequest, path: ReferrersPath, record: RequestRecord, *, stored_only: bool
) -> web.Response:
    hit = await lists.referrers(path, stored_only=stored_only)
    record.located(hit.origin)
    data, headers = hit.value, {**cache_status(hit)}
    if kind := request.query.get("artifactType"):
        data = render_referrers(entry for entry in parse_referrers(data) if entry.get("artifactType") == kind)
        headers["OCI-Filters-Applied"] = "artifactType"
    return web.Response(body=data, content_type=OCI_INDEX, headers=headers)


async def _tags(
    lists: Lists, request: web.BaseRequest, path: TagsPath, record: RequestRecord, *, stored_only: bool
) -> web.Response:
    asked = urlencode([(name, value) for name, value in request.query.items() if name != "ns"])
    hit = await lists.tags(path, asked, stored_only=stored_only)
    record.located(hit.origin)
    headers = {**cache_status(hit)}
    # As the client named it, which may be without the registry, or with it.
    name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
    if hit.value.next_query:
        namespace = request.query.get("ns")
        query = hit.value.next_query + (f"&ns={namespace}" if namespace is not None else "")
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    body = json.dumps({"name": name, "tags": list(hit.value.tags)}).encode()
    return web.Response(body=body, content_type="application/json", headers=headers)
