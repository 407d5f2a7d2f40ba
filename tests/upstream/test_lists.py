"""Lists of registries: pages, and what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.oci.referrers import parse_referrers
from registryd.upstream.errors import SomethingElse, UpstreamBroken, UpstreamMissing
from tests.fakes.images import oci_image, raw_descriptor, signature_of
from tests.fakes.upstream import answering
from tests.upstream.world import APP, at

if TYPE_CHECKING:
    from registryd.upstream.client import RegistryClient
    from tests.fakes.upstream import FakeUpstream

IMAGE = oci_image()
SUBJECT = IMAGE.target.digest
SIGNATURES = [raw_descriptor(signature_of(IMAGE, text=str(n)).target) for n in range(7)]


@pytest.mark.parametrize("page_size", [2, 7, 100])
async def test_all_pages_of_referrers_are_one_list(
    client: RegistryClient, upstream: FakeUpstream, page_size: int
) -> None:
    upstream.referrers = {("demo/app", str(SUBJECT)): SIGNATURES}
    upstream.page_size = page_size
    data = await client.get_referrers(at(upstream), APP, SUBJECT)
    assert sorted(entry["digest"] for entry in parse_referrers(data)) == sorted(str(s["digest"]) for s in SIGNATURES)


async def test_a_list_of_pages_without_end_is_given_up(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.referrers = {("demo/app", str(SUBJECT)): SIGNATURES * 10}
    upstream.page_size = 1
    with pytest.raises(UpstreamBroken, match="more is attached"):
        await client.get_referrers(at(upstream), APP, SUBJECT)


async def test_all_pages_together_are_no_longer_than_one_list(client: RegistryClient, upstream: FakeUpstream) -> None:
    padded = [{**entry, "annotations": {"padding": "x" * 1_000_000}} for entry in SIGNATURES]
    upstream.referrers = {("demo/app", str(SUBJECT)): padded * 2}
    upstream.page_size = 1
    with pytest.raises(UpstreamBroken, match="more than"):
        await client.get_referrers(at(upstream), APP, SUBJECT)
    # Nothing was asked for after the page that was too long: 8 MiB.
    assert sum("/referrers/" in seen.path for seen in upstream.seen) < len(padded) * 2


async def test_a_registry_without_the_api_says_so(client: RegistryClient, upstream: FakeUpstream) -> None:
    with pytest.raises(UpstreamMissing):
        await client.get_referrers(at(upstream), APP, SUBJECT)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"manifests": [1]}', b'{"manifests": [{"digest": "x"}]}', b"[]"])
async def test_what_is_no_list_of_referrers(client: RegistryClient, upstream: FakeUpstream, body: bytes) -> None:
    upstream.character = answering(200, body)
    with pytest.raises(SomethingElse):
        await client.get_referrers(at(upstream), APP, SUBJECT)


async def test_tags_come_by_pages(client: RegistryClient, upstream: FakeUpstream) -> None:
    for tag in ("v2", "v3"):
        upstream.manifests["demo/app", tag] = (IMAGE.target.media_type, IMAGE.manifest)
    first = await client.list_tags(at(upstream), APP, "n=2")
    assert (first.tags, first.next_query) == (["v1", "v2"], "n=2&last=2")
    second = await client.list_tags(at(upstream), APP, first.next_query)
    assert (second.tags, second.next_query) == (["v3"], "")


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (b'{"tags": null}', []),
        (b'{"tags": ["v1", 2, null, "", "no tag", "v2"]}', ["v1", "v2"]),
    ],
)
async def test_what_is_no_tag_is_left_out(
    client: RegistryClient, upstream: FakeUpstream, body: bytes, tags: list[str]
) -> None:
    upstream.character = answering(200, body)
    assert (await client.list_tags(at(upstream), APP, "")).tags == tags


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"tags": 1}', b"[" * 100_000, b'{"tags": [%s0]}' % (b"{}," * 700_000)]
)
async def test_what_is_no_list_of_tags(client: RegistryClient, upstream: FakeUpstream, body: bytes) -> None:
    upstream.character = answering(200, body)
    with pytest.raises(SomethingElse):
        await client.list_tags(at(upstream), APP, "")


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ('</v2/app/tags/list?last=v9&ns=x>; rel="next"', "last=v9"),
        ("</v2/app/tags/list?last=v9>; rel=next", "last=v9"),
        ('<?last=a%26b&n=5>; rel="next"; title="x"', "last=a%26b&n=5"),
        ('<https://elsewhere.example/x?last=v9>; rel="next"', "last=v9"),
        ('</v2/app/tags/list?last=v9>; rel="prev"', ""),
        ("v9", ""),
        ('<http://[>; rel="next"', ""),
    ],
)
async def test_only_the_query_of_a_link_is_followed(
    client: RegistryClient, upstream: FakeUpstream, link: str, query: str
) -> None:
    upstream.character = answering(200, b'{"tags": []}', Link=link)
    assert (await client.list_tags(at(upstream), APP, "")).next_query == query
