"""The registry that the client is tested against, and what it keeps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.transport import Patience
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


IMAGE = oci_image()
APP = Repository(Registry("registry.example"), "demo/app")
PRIVATE = Repository(Registry("registry.example"), "demo/private")
TAG = Tag("v1")
LAYER = IMAGE.digest_of("application/vnd.oci.image.layer.v1.tar+gzip")
# Silence is noticed after this many seconds; everything else here takes milliseconds.
IMPATIENT = Patience(connect=10.0, silence=1.0, total=10.0)


@asynccontextmanager
async def registry(challenge: str, prefix: str = "/v2") -> AsyncIterator[FakeUpstream]:
    async with open_upstream(FakeUpstream(challenge=challenge, prefix=prefix)) as upstream:
        upstream.add("demo/app", IMAGE)
        upstream.add("demo/private", IMAGE, public=False)
        yield upstream


def at(upstream: FakeUpstream, *, login: str | None = None) -> Endpoint:
    endpoint = Endpoint.parse(upstream.url)
    user, _, password = (login or "").partition(":")
    return replace(endpoint, credentials=Credentials(user, password)) if login else endpoint
