"""What is shared: the configured namespaces, and nothing else that containerd keeps in the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.content.source import Content, ContentNotFound
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.containerd.timing import Timing
from tests.contracts.content_store import is_known, read, until
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect


@pytest.fixture(params=["files", "api"])
def _way(request: pytest.FixtureRequest, containerd: FakeContainerd) -> None:
    if request.param == "api":
        containerd.told_root = None


@pytest.mark.usefixtures("_way")
async def test_other_namespaces_stay_private(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.put_blob(b"something shared")
    secret = oci_image("registry.example/secret:v1")
    containerd.put(secret, namespace="moby")
    async with connect("k8s.io") as store:
        for digest in secret.blobs:
            with pytest.raises(ContentNotFound):
                await store.find(digest)
            with pytest.raises(ContentNotFound):
                await store.open(digest, Span.whole)
        assert not await store.resolve(secret.name)


@pytest.mark.usefixtures("_way")
async def test_every_shared_namespace_counts(containerd: FakeContainerd, connect: Connect) -> None:
    here, there = oci_image("registry.example/here:v1"), oci_image("registry.example/there:v1", layers=(b"there",))
    containerd.put(here, namespace="k8s.io")
    containerd.put(there, namespace="default")
    async with connect("k8s.io", "default") as store:
        for image in (here, there):
            assert await is_known(store, image)
            assert await read(store, image.target.digest, Span.whole) == image.manifest


async def test_a_name_may_mean_something_in_each_namespace(containerd: FakeContainerd, connect: Connect) -> None:
    one, other = oci_image(layers=(b"one",)), oci_image(layers=(b"other",))
    containerd.put(one, namespace="k8s.io")
    containerd.put(other, namespace="default")
    async with connect("default", "k8s.io") as store:
        known = await store.resolve(one.name)
        assert [named.target for named in known] == [other.target, one.target]


async def test_an_event_of_another_namespace_changes_nothing(containerd: FakeContainerd, connect: Connect) -> None:
    async with connect("k8s.io") as store:
        secret, shared = oci_image("registry.example/secret:v1"), oci_image("registry.example/shared:v1")
        containerd.put(secret, namespace="moby")
        containerd.put(shared, namespace="k8s.io")
        await until(lambda: is_known(store, shared))
        assert not await store.resolve(secret.name)


async def test_dropped_content_is_gone_in_a_moment_though_its_file_stays(
    containerd: FakeContainerd, connect: Connect
) -> None:
    digest = containerd.put_blob(b"in two namespaces", namespace="k8s.io")
    containerd.put_blob(b"in two namespaces", namespace="moby")

    async def is_gone() -> bool:
        try:
            await store.find(digest)
        except ContentNotFound:
            return True
        return False

    async with connect("k8s.io") as store:
        assert not await is_gone()
        assert Timing().presence <= 1.0
        containerd.drop_blob(digest, namespace="k8s.io")
        await until(is_gone)


async def test_names_that_are_no_tags_are_only_kept_for_their_targets(
    containerd: FakeContainerd, connect: Connect
) -> None:
    image = oci_image()
    containerd.put(image)
    containerd.put_image("sha256:" + "a" * 64, image.target)
    containerd.put_image("not/a full name", image.target)
    containerd.put_image("", Descriptor(OCI_MANIFEST, Digest.of(b"missing"), 7))
    async with connect() as store:
        [named] = await store.resolve(image.name)
        assert named.target == image.target


async def test_content_that_containerd_keeps_for_another_namespace_is_not_missed(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.put(oci_image())  # by which the agent recognises the files
    kept = containerd.put_blob(b"for nerdctl", namespace="default")
    async with connect("k8s.io") as store:
        with pytest.raises(ContentNotFound):
            await store.find(kept)
        assert not store.would_have(Content(kept, 11, None))
        assert store.would_have(Content(Digest.of(b"thrown away"), 11, None))
        assert not store.would_have(Content(Digest.of(b"larger than the disk"), 1 << 50, None))
