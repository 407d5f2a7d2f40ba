"""What anyone would be told, over the node's mirrors and the registry itself, of all kinds of upstreams."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import open_client
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamUnreachable,
)
from registryd.upstream.proxies import Proxies
from registryd.upstream.public import Verdict, open_public_repositories
from registryd.upstream.transport import Patience
from registryd.upstream.trust import TlsTrust
from tests.fakes import upstream as fakes
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

IMAGE = oci_image()
REGISTRY = Registry("registry.example")
PUBLIC = Repository(REGISTRY, "demo/app")
PRIVATE = Repository(REGISTRY, "demo/private")
TAG = Tag("v1")


class Upstreams:
    """A registry that is reached over several endpoints, in the order in which they were started."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.endpoints: list[Endpoint] = []

    async def start(self, challenge: str = "bearer") -> FakeUpstream:
        upstream = await self._stack.enter_async_context(open_upstream(FakeUpstream(challenge=challenge)))
        upstream.add("demo/app", IMAGE)
        upstream.add("demo/private", IMAGE, public=False)
        # Credentials that would open everything, were they sent.
        user, _, password = fakes.USER.partition(":")
        self.endpoints.append(replace(Endpoint.parse(upstream.url), credentials=Credentials(user, password)))
        return upstream

    def endpoints_of(self, _registry: Registry) -> Sequence[Endpoint]:
        return self.endpoints


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    async with AsyncExitStack() as stack:
        yield Upstreams(stack)


@pytest.fixture
async def anyone(upstreams: Upstreams) -> AsyncIterator[AnonymousClient]:
    patience = Patience(connect=1.0, silence=0.2, total=1.0)
    async with open_client(clock=time.monotonic, patience=patience, proxies=Proxies()) as client:
        yield AnonymousClient(client, upstreams.endpoints_of)


@pytest.mark.parametrize("challenge", ["none", "basic", "bearer"])
async def test_the_public_is_public(anyone: AnonymousClient, upstreams: Upstreams, challenge: str) -> None:
    upstream = await upstreams.start(challenge)
    await anyone.head(PUBLIC, TAG)
    assert {seen.method for seen in upstream.seen if seen.path != "/token"} == {"HEAD"}, "no pull was counted"


@pytest.mark.parametrize("challenge", ["basic", "bearer"])
async def test_credentials_of_the_endpoint_are_not_used(
    anyone: AnonymousClient, upstreams: Upstreams, challenge: str
) -> None:
    upstream = await upstreams.start(challenge)
    with pytest.raises(UpstreamDenied):
        await anyone.head(PRIVATE, TAG)
    assert not any((seen.authorization or "").startswith("Basic") for seen in upstream.seen)


async def test_a_tag_that_is_not_there(anyone: AnonymousClient, upstreams: Upstreams) -> None:
    await upstreams.start()
    with pytest.raises(UpstreamMissing):
        await anyone.head(PUBLIC, Tag("v2"))


async def test_a_web_page_is_no_manifest(anyone: AnonymousClient, upstreams: Upstreams) -> None:
    upstream = await upstreams.start()
    upstream.character = fakes.answering(200, Content_Type="text/html")
    with pytest.raises(UpstreamBroken, match="not a manifest"):
        await anyone.head(PRIVATE, TAG)


@pytest.mark.parametrize("has_body", [False, True])
async def test_another_manifest_is_not_the_one_that_was_asked_for(
    anyone: AnonymousClient, upstreams: Upstreams, *, has_body: bool
) -> None:
    """Some answer every digest with what they have: to a HEAD, or to a GET where their HEAD says nothing."""
    upstream = await upstreams.start()
    other = oci_image(layers=(b"another",))
    kind = "text/plain" if has_body else other.target.media_type
    digest = {} if has_body else {"Docker_Content_Digest": str(other.target.digest)}
    upstream.character = fakes.answering(200, other.manifest, Content_Type=kind, **digest)
    with pytest.raises(UpstreamBroken, match="other bytes" if has_body else "another manifest"):
        await anyone.head(PUBLIC, IMAGE.target.digest)


@pytest.mark.parametrize(
    "shown",
    [{"headers": (("X-Token", "ours"),)}, {"trust": TlsTrust(client_certificate=Path("c"), client_key=Path("k"))}],
)
async def test_what_was_answered_to_what_only_this_node_shows_is_for_this_node(
    anyone: AnonymousClient, upstreams: Upstreams, shown: dict[str, Any]
) -> None:
    await upstreams.start("none")
    upstreams.endpoints = [replace(each, credentials=None) for each in upstreams.endpoints]
    assert await anyone.head(PUBLIC, TAG)
    upstreams.endpoints = [replace(each, **shown) for each in upstreams.endpoints]
    assert not await anyone.head(PUBLIC, TAG)


@pytest.mark.parametrize(
    "mirror_is", [fakes.answering(401), fakes.answering(404), fakes.answering(500), fakes.resetting, fakes.silent]
)
async def test_the_last_word_is_the_registrys(
    anyone: AnonymousClient, upstreams: Upstreams, mirror_is: fakes.Character
) -> None:
    mirror = await upstreams.start()
    upstream = await upstreams.start()
    mirror.character = mirror_is
    await anyone.head(PUBLIC, TAG)
    with pytest.raises(UpstreamDenied):
        await anyone.head(PRIVATE, TAG)
    upstream.character = fakes.resetting
    with pytest.raises(UpstreamUnreachable) as caught:
        await anyone.head(PRIVATE, TAG)
    assert f"127.0.0.1:{mirror.port}" in caught.value.__notes__[0]


async def test_a_mirror_that_gives_it_to_anyone_is_enough(anyone: AnonymousClient, upstreams: Upstreams) -> None:
    await upstreams.start()
    upstream = await upstreams.start()
    await anyone.head(PUBLIC, TAG)
    await anyone.ping(REGISTRY)
    assert not upstream.seen


async def test_nobody_answers(anyone: AnonymousClient, upstreams: Upstreams, unused_tcp_port: int) -> None:
    upstreams.endpoints.append(Endpoint.parse(f"http://127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(UpstreamUnreachable):
        await anyone.ping(REGISTRY)


async def test_from_question_to_verdict(anyone: AnonymousClient, upstreams: Upstreams) -> None:
    upstream = await upstreams.start()
    async with open_public_repositories(anyone) as public:
        assert await public.check(PUBLIC, TAG) is Verdict.PUBLIC
        assert await public.check(PRIVATE, TAG) is Verdict.NOT_PUBLIC
        assert await public.upstream_reachable(REGISTRY)
        upstream.character = fakes.answering(429)
        asked = len(upstream.seen)
        assert await public.check(PUBLIC, IMAGE.target.digest) is Verdict.PUBLIC
        assert len(upstream.seen) == asked


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1:1/token", "http://169.254.169.254/latest/api/token", "https://registry.example:0/"]
)
async def test_a_realm_elsewhere_on_this_machine_makes_nothing_public(
    anyone: AnonymousClient, upstreams: Upstreams, realm: str
) -> None:
    upstream = await upstreams.start()
    upstream.realm = realm
    with pytest.raises(UpstreamFailed):
        await anyone.head(PUBLIC, TAG)
