"""What images consist of: walks that end, and lies that do not hide behind truths."""

from __future__ import annotations

from itertools import pairwise

from registryd.oci.descriptor import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from registryd.store.archive.contents import contents_of


def descriptor(name: str, *, media_type: str = OCI_INDEX, size: int = 1) -> Descriptor:
    return Descriptor(media_type, Digest.of(name.encode()), size)


def test_indexes_that_refer_to_each_other_in_many_ways_are_walked_once() -> None:
    """Forty levels, each reached in two ways: two to the power of forty paths."""
    names = [f"level {number}" for number in range(40)]
    manifests = {
        descriptor(above).digest: Manifest(OCI_INDEX, (descriptor(below), descriptor(below, media_type=DOCKER_LIST)))
        for above, below in pairwise(names)
    }
    manifests[descriptor(names[-1]).digest] = Manifest(OCI_INDEX, ())
    contents = contents_of([descriptor(names[0])], sizes=dict.fromkeys(manifests, 1), manifests=manifests)
    assert set(contents.there) == set(manifests)
    assert contents.missing == ()


def test_wrong_size_is_noticed_wherever_it_is_said() -> None:
    right, wrong = descriptor("layer", media_type="a/b"), descriptor("layer", media_type="a/b", size=2)
    image = descriptor("image", media_type=OCI_MANIFEST)
    for children in ((right, wrong), (wrong, right)):
        contents = contents_of(
            [image],
            sizes={image.digest: 1, right.digest: 1},
            manifests={image.digest: Manifest(OCI_MANIFEST, children)},
        )
        [missing] = contents.missing
        assert missing.target == wrong
        assert not missing.is_optional


def test_what_one_can_do_without_another_may_need() -> None:
    """The same digest is a platform of an index, which may be absent, and an image of its own, which may not."""
    index, shared = descriptor("index"), descriptor("shared", media_type=OCI_MANIFEST)
    manifests = {index.digest: Manifest(OCI_INDEX, (shared,))}
    for images in ([index, shared], [shared, index]):
        [missing] = contents_of(images, sizes={index.digest: 1}, manifests=manifests).missing
        assert not missing.is_optional


def test_layers_that_must_not_be_distributed_may_be_absent() -> None:
    image = descriptor("image", media_type=OCI_MANIFEST)
    foreign = descriptor("foreign", media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    plain = descriptor("plain", media_type="application/vnd.docker.image.rootfs.diff.tar.gzip")
    manifests = {image.digest: Manifest(OCI_MANIFEST, (foreign, plain))}
    contents = contents_of([image], sizes={image.digest: 1}, manifests=manifests)
    assert {missing.target: missing.is_optional for missing in contents.missing} == {foreign: True, plain: False}
