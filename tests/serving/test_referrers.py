"""What is attached to images, from an agent: what the cluster knows, while the registry itself says nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import referrers_tag
from tests.fakes.images import SampleImage, document_of, oci_image, raw_descriptor, signature_of
from tests.fakes.sources import FailingSource, MemorySource, SilentSource
from tests.serving.test_registry import codes

if TYPE_CHECKING:
    from tests.serving.conftest import Answer, Registry

IMAGE = oci_image()
SUBJECT = IMAGE.target.digest
SIGNATURE = signature_of(IMAGE)
PATH = f"/v2/demo/app/referrers/{SUBJECT}?ns=registry.example"


def list_of(*artifacts: SampleImage) -> SampleImage:
    """The list under its tag, as somebody keeps it."""
    entries = [raw_descriptor(artifact.target, artifactType="application/x") for artifact in artifacts]
    data, target = document_of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    name = TaggedName(IMAGE.name.repository, referrers_tag(SUBJECT))
    return SampleImage(name, target, {target.digest: data}, {target.digest: OCI_INDEX})


def listed(answer: Answer) -> set[str]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == OCI_INDEX
    return {entry["digest"] for entry in json.loads(answer.body)["manifests"]}


async def test_a_list_that_this_node_keeps(registry: Registry) -> None:
    registry.local = source = MemorySource(IMAGE, list_of(SIGNATURE))
    registry.names = [source]
    async with registry.serving() as client:
        assert listed(await client.get(PATH)) == {str(SIGNATURE.target.digest)}
        assert listed(await client.get(f"{PATH}&artifactType=application/y")) == set()
        head = await client.head(PATH)
    assert (head.status, head.body) == (200, b"")
    assert source.left_open == 0
    assert registry.counted('registryd_requests_total{kind="list",method="GET",outcome="local"}') == 2


async def test_the_newest_list_of_the_cluster_that_can_be_had(registry: Registry) -> None:
    old, new, newest = list_of(SIGNATURE), list_of(SIGNATURE, signature_of(IMAGE, text="2")), list_of()
    registry.cluster = peers = MemorySource()
    for seen_at, each in enumerate((old, new)):
        peers.add_image(each, seen_at=seen_at)
    gone = MemorySource()
    gone.add_image(newest, seen_at=9)
    registry.names = [peers, gone]
    async with registry.serving() as client:
        answer = await client.get(PATH)
    assert len(listed(answer)) == 2
    assert registry.counted('registryd_requests_total{kind="list",method="GET",outcome="peer"}') == 1


async def test_what_nobody_knows_is_404_at_once(registry: Registry) -> None:
    async with registry.serving() as client:
        answer = await client.get(PATH)
    assert (answer.status, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])
    assert registry.counted('registryd_requests_total{kind="list",method="GET",outcome="miss"}') == 1


async def test_what_is_no_list_is_not_given_as_one(registry: Registry) -> None:
    registry.local = source = MemorySource()
    source.add_image(SampleImage(list_of().name, IMAGE.target, IMAGE.blobs, IMAGE.media_types))
    registry.names = [source]
    async with registry.serving() as client:
        assert (await client.get(PATH)).status == 404


async def test_a_search_that_takes_too_long_is_404(registry: Registry) -> None:
    registry.local, registry.names = FailingSource(), [SilentSource()]
    registry.first_byte_timeout_seconds = 0.05
    async with registry.serving() as client:
        assert (await client.get(PATH)).status == 404


@pytest.mark.parametrize(
    ("reachable", "public", "status"), [(True, True, 404), (False, True, 200), (False, False, 404)]
)
async def test_mode_public_answers_as_for_tags(
    registry: Registry,
    reachable: bool,
    public: bool,
    status: int,
) -> None:
    registry.local = source = MemorySource(IMAGE, list_of(SIGNATURE))
    registry.names = [source]
    registry.authorization = AuthorizationSettings(mode=AuthorizationMode.PUBLIC)
    registry.public.reachable, registry.public.public = reachable, public
    async with registry.serving() as client:
        assert (await client.get(PATH)).status == status
    # What is asked is the image's own manifest: the list's tag exists at few registries.
    asked = f"demo/app {SUBJECT} for later" if reachable else "demo/app"
    assert any(question.endswith(asked) for question in registry.public.asked)


@pytest.mark.parametrize("exclude", [("registry.example/demo/*",), ()])
async def test_what_may_not_be_resolved_or_is_excluded_is_not_listed(
    registry: Registry, exclude: tuple[str, ...]
) -> None:
    registry.local = source = MemorySource(IMAGE, list_of(SIGNATURE))
    registry.names = [source]
    mode = AuthorizationMode.OPEN if exclude else AuthorizationMode.UPSTREAM
    registry.authorization = AuthorizationSettings(mode=mode, exclude=exclude)
    async with registry.serving() as client:
        assert (await client.get(PATH)).status == 404


async def test_an_agent_lists_no_tags(registry: Registry) -> None:
    registry.local = source = MemorySource(IMAGE)
    registry.names = [source]
    async with registry.serving() as client:
        answer = await client.get("/v2/demo/app/tags/list?ns=registry.example")
    assert (answer.status, codes(answer)) == (404, ["UNSUPPORTED"])
