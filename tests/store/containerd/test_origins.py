"""Where containerd's content is from, as far as labels, names and requests tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.content.growing import GrowingContent
from registryd.content.sought import Sought
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository, TaggedName
from tests.contracts.content_store import until
from tests.fakes.containerd_ingests import FakeIngest
from tests.fakes.images import OCI_LAYER, SampleImage, document_of, oci_image, oci_index, raw_descriptor

if TYPE_CHECKING:
    from registryd.store.containerd.store import ContainerdStore
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect

APP = Repository.parse("private.example/secret/app")
IMAGE = oci_image(f"{APP}:v1")
LAYER = IMAGE.digest_of(OCI_LAYER)
ATTACKER = Repository.parse("attacker.example/x")


async def known(store: ContainerdStore, digest: Digest) -> set[str]:
    return {str(repository) for repository in (await store.provenance(await store.find(digest))).repositories}


async def is_named(store: ContainerdStore, name: str) -> bool:
    return bool(await store.resolve(TaggedName.parse(name)))


# Pulled


async def test_what_was_pulled_is_of_its_repository(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE)
    async with connect() as store:
        for digest in IMAGE.blobs:
            assert await known(store, digest) == {str(APP)}


async def test_labels_of_several_repositories_all_count(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE)
    for name in ("private.example/other/app", "hub.example/library/base"):
        containerd.label(LAYER, Repository.parse(name))
    async with connect() as store:
        expected = {str(APP), "private.example/other/app", "hub.example/library/base"}
        assert await known(store, LAYER) == expected
        assert await known(store, IMAGE.target.digest) == {str(APP)}


async def test_labels_that_make_no_sense_are_passed_over(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE)
    prefix = "containerd.io/distribution.source."
    wrong = {f"{prefix}a..b": "app", f"{prefix}": "app", f"{prefix}b.example": "UPPER,,../etc,ok", "other": "app"}
    containerd.labels[str(LAYER)] |= wrong
    async with connect() as store:
        assert await known(store, LAYER) == {str(APP), "b.example/ok"}


def listing(name: str, *children: dict[str, object]) -> SampleImage:
    """An index of somebody who lists what is not his."""
    document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list(children)}
    data, target = document_of(document)
    return SampleImage(TaggedName.parse(name), target, {target.digest: data}, {target.digest: target.media_type})


async def test_an_index_that_was_pulled_makes_nothing_its_own_that_it_lists(
    containerd: FakeContainerd, connect: Connect
) -> None:
    """Another platform's manifest in an index: containerd does not look whether the registry has it."""
    containerd.pulled(IMAGE)
    theirs = listing(f"{ATTACKER}:v1", raw_descriptor(IMAGE.target))
    containerd.pulled(theirs)
    async with connect() as store:
        assert await known(store, theirs.target.digest) == {str(ATTACKER)}
        for digest in IMAGE.blobs:
            assert await known(store, digest) == {str(APP)}
            assert store.namers(digest) == {APP, ATTACKER}


async def test_an_image_that_is_given_a_name_by_its_registry_has_it(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.pulled(IMAGE)
    containerd.put_image(f"other.example/app@{IMAGE.target.digest}", IMAGE.target)
    async with connect() as store:
        assert await known(store, IMAGE.target.digest) == {str(APP), "other.example/app"}
        assert "other.example/app" in await known(store, IMAGE.target.digest)


# Ports


async def test_a_label_has_no_port_and_names_tell_it(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE, name="private.example:5000/secret/app:v1")
    async with connect() as store:
        for digest in IMAGE.blobs:
            assert await known(store, digest) == {"private.example:5000/secret/app"}


async def test_of_two_registries_on_one_host_the_one_with_the_repository_is_meant(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.pulled(IMAGE, name="private.example:5000/secret/app:v1")
    containerd.pulled(oci_image(layers=(b"theirs",)), name="private.example:5001/x:v1")
    async with connect() as store:
        assert await known(store, LAYER) == {"private.example:5000/secret/app"}


async def test_when_two_registries_on_one_host_have_the_repository_a_label_says_nothing(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.pulled(IMAGE, name="private.example:5000/secret/app:v1")
    containerd.pulled(oci_image(layers=(b"theirs",)), name="private.example:5001/secret/app:v1")
    async with connect() as store:
        assert await known(store, LAYER) == set()
        assert await known(store, IMAGE.target.digest) == {"private.example:5000/secret/app"}


async def test_a_name_is_found_however_it_is_written(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE, name="private.example:443/secret/app:v1")
    async with connect() as store:
        for name in ("private.example/secret/app:v1", "PRIVATE.example:0443/secret/app:v1"):
            assert await is_named(store, name)
        assert await known(store, LAYER) == {str(APP)}


async def test_a_name_that_no_event_has_told_of_is_asked_for_as_it_was_written(
    containerd: FakeContainerd, connect: Connect
) -> None:
    async with connect() as store:
        containerd.end_subscriptions()
        containerd.pulled(IMAGE, name="Private.example:443/secret/app:v1")
        assert await is_named(store, "Private.example:443/secret/app:v1")


# Put there by hand


async def test_what_was_imported_is_of_the_name_that_it_was_given(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_index(f"{APP}:v1")
    containerd.put(image)
    async with connect() as store:
        for digest in image.blobs:
            assert await known(store, digest) == {str(APP)}


async def test_an_import_that_comes_later_is_known_by_its_event(containerd: FakeContainerd, connect: Connect) -> None:
    async with connect() as store:
        containerd.put(IMAGE)
        await until(lambda: is_named(store, str(IMAGE.name)))

        async def is_its() -> bool:
            return await known(store, LAYER) == {str(APP)}

        await until(is_its)


async def test_a_pull_of_what_was_imported_takes_nothing_away(containerd: FakeContainerd, connect: Connect) -> None:
    """The kubelet asks its registry for an image that is there: manifests are labelled, layers are not looked at."""
    containerd.put(IMAGE)
    async with connect() as store:
        containerd.label(IMAGE.target.digest, APP)
        containerd.put_image(str(IMAGE.name), IMAGE.target)
        containerd.put_image("sha256:" + "0" * 64, IMAGE.target)
        await until(lambda: is_named(store, str(IMAGE.name)))
        assert await known(store, LAYER) == {str(APP)}
        containerd.end_subscriptions()
        containerd.put_image("private.example/listed:again", IMAGE.target)
        await until(lambda: is_named(store, "private.example/listed:again"))
        assert str(APP) in await known(store, LAYER)


async def test_what_has_labels_is_not_also_of_who_imports_a_list_of_it(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.pulled(IMAGE)
    containerd.put(listing(f"{ATTACKER}:v1", raw_descriptor(IMAGE.target)))
    async with connect() as store:
        for digest in IMAGE.blobs:
            assert await known(store, digest) == {str(APP)}


async def test_a_tag_that_is_given_by_hand_is_of_its_target(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.pulled(IMAGE)
    containerd.put_image("mirror.example/app:v1", IMAGE.target)
    async with connect() as store:
        assert await known(store, IMAGE.target.digest) == {str(APP), "mirror.example/app"}
        assert await known(store, LAYER) == {str(APP)}


async def test_what_belongs_to_no_image_has_no_name(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(b"left over")
    async with connect() as store:
        assert await known(store, digest) == set()
        assert store.namers(digest) == frozenset()


async def test_names_go_with_their_images(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.put(IMAGE)
    async with connect() as store:
        assert await known(store, LAYER) == {str(APP)}
        for name in list(containerd.images["k8s.io"]):
            containerd.drop_image(name)

        async def is_gone() -> bool:
            return not await known(store, LAYER)

        await until(is_gone)


# On its way

DATA = bytes(2_000_000)
COMING = Digest.of(DATA)


def arriving(containerd: FakeContainerd) -> FakeIngest:
    containerd.put_blob(b"something to recognise its files by")
    return FakeIngest(containerd, COMING, len(DATA))


async def coming(store: ContainerdStore) -> set[str]:
    content = await store.begun(COMING)
    assert isinstance(content, GrowingContent)
    return {str(repository) for repository in (await store.provenance(content)).repositories}


async def test_what_arrives_is_of_the_name_that_it_is_asked_for(containerd: FakeContainerd, connect: Connect) -> None:
    ingest = arriving(containerd)
    async with connect() as store:
        assert await coming(store) == set()
        assert store.asked(Sought(COMING, APP))
        assert await coming(store) == {str(APP)}
        ingest.write(DATA[:1000])
        assert await coming(store) == {str(APP)}
        assert store.asked(Sought(COMING, Repository.parse("private.example/sibling")))
        assert await coming(store) == {str(APP), "private.example/sibling"}


async def test_once_there_are_bytes_another_registrys_request_does_not_count(
    containerd: FakeContainerd, connect: Connect
) -> None:
    ingest = arriving(containerd)
    async with connect() as store:
        store.asked(Sought(COMING, APP))
        ingest.write(DATA[:1000])
        assert not store.asked(Sought(COMING, ATTACKER))
        assert await coming(store) == {str(APP)}


async def test_the_name_of_a_pull_that_gave_up_does_not_count_for_the_next(
    containerd: FakeContainerd, connect: Connect
) -> None:
    first = arriving(containerd)
    async with connect() as store:
        store.asked(Sought(COMING, ATTACKER))
        assert store.asked(Sought(COMING, APP)), "nothing had come"
        assert await coming(store) == {str(APP)}
        first.abort()
        second = FakeIngest(containerd, COMING, len(DATA))
        assert await coming(store) == set()
        second.write(DATA[:1000])
        assert await coming(store) == set()
        assert not store.asked(Sought(COMING, ATTACKER)), "whose bytes these are nobody knows"


async def test_what_flows_in_is_bytes_too(containerd: FakeContainerd, connect: Connect) -> None:
    from registryd.oci.ranges import Span  # noqa: PLC0415

    arriving(containerd)
    async with connect() as store:
        store.asked(Sought(COMING, APP))
        with store.inflows.flowing(COMING, Span(0, len(DATA))) as inflow:
            await inflow.put(DATA[:1000])
            assert not store.asked(Sought(COMING, ATTACKER))
        assert await coming(store) == {str(APP)}


async def test_what_has_just_become_whole_is_known_before_it_is_labelled(
    containerd: FakeContainerd, connect: Connect
) -> None:
    ingest = arriving(containerd)
    async with connect() as store:
        store.asked(Sought(COMING, APP))
        ingest.write(DATA)
        ingest.commit()
        assert await known(store, COMING) == {str(APP)}
        # Another file of the same content, of which nobody knows. It is there before the first one goes: a filesystem
        # may give the number of a file that has gone to the next one.
        containerd.path(COMING).with_suffix(".other").write_bytes(DATA)
        containerd.drop_blob(COMING)
        containerd.path(COMING).with_suffix(".other").rename(containerd.path(COMING))
        containerd.content["k8s.io"][str(COMING)] = None
        assert await known(store, COMING) == set()


async def test_nothing_is_noted_for_what_does_not_arrive(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.put_blob(b"something to recognise its files by")
    async with connect() as store:
        assert not store.asked(Sought(COMING, APP))
        assert not store.asked(Sought(COMING, None))
        ingest = FakeIngest(containerd, COMING, len(DATA))
        assert await coming(store) == set()
        ingest.abort()


@pytest.mark.parametrize("count", [3])
async def test_a_label_is_read_by_the_registry_that_was_asked_before_its_image_has_a_name(
    containerd: FakeContainerd, connect: Connect, count: int
) -> None:
    repository = Repository.parse("private.example:5000/secret/app")
    digests = [containerd.put_blob(b"%d" % number) for number in range(count)]
    for digest in digests:
        containerd.label(digest, repository)
    async with connect() as store:
        assert await known(store, digests[0]) == {"private.example/secret/app"}
        store.asked(Sought(digests[1], repository))
        assert await known(store, digests[2]) == {str(repository)}
