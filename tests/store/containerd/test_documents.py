from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from registryd.store.containerd.documents import Documents

LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(name: object) -> Digest:
    return Digest.of(str(name).encode())


def manifest(*children: object, media_type: str = OCI_MANIFEST, child_type: str = LAYER) -> Manifest:
    return Manifest(media_type, tuple(Descriptor(child_type, digest(child), 1) for child in children))


def test_own_media_type_counts_more_than_a_reference() -> None:
    documents = Documents()
    documents.learn(digest("index"), manifest("m", media_type=OCI_INDEX, child_type="application/octet-stream"))
    assert documents.media_type(digest("m")) == "application/octet-stream"
    documents.learn(digest("m"), manifest("layer"))
    assert documents.media_type(digest("m")) == OCI_MANIFEST


def test_child_documents_are_those_referred_to_as_such() -> None:
    documents = Documents()
    documents.learn(digest("index"), manifest("a", "b", media_type=OCI_INDEX, child_type=OCI_MANIFEST))
    documents.learn(digest("a"), manifest("layer"))
    assert list(documents.child_documents(digest("index"))) == [digest("a"), digest("b")]
    assert not list(documents.child_documents(digest("a")))
    assert not list(documents.child_documents(digest("unknown")))


def test_sha512_is_kept_apart() -> None:
    documents = Documents()
    other = Digest.of(b"m", algorithm="sha512")
    documents.learn(digest("index"), Manifest(OCI_INDEX, (Descriptor(OCI_MANIFEST, other, 1),)))
    assert list(documents.child_documents(digest("index"))) == [other]


def test_memory_is_bounded() -> None:
    documents = Documents(most_digests=100)
    for number in range(1000):
        documents.learn(digest(number), manifest(f"{number}/1", f"{number}/2"))
        assert len(documents) <= 100
        assert documents.media_type(digest(f"{number}/2")) == LAYER


def test_dismissed_content_is_remembered_within_bounds() -> None:
    documents = Documents()
    for number in range(5000):
        documents.dismiss(digest(number))
    assert documents.has_seen(digest(4999))
    assert not documents.has_seen(digest(0))
    assert not documents.has_seen(digest("never"))


@given(
    graph=st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 19), max_size=5), max_size=10),
    roots=st.sets(st.integers(0, 9)),
)
def test_keep_drops_exactly_what_no_root_leads_to(graph: dict[int, list[int]], roots: set[int]) -> None:
    documents = Documents()
    for name, children in graph.items():
        documents.learn(digest(name), manifest(*children, child_type=OCI_MANIFEST))
    documents.keep(digest(root) for root in roots)
    reached: set[int] = set()
    pending = [root for root in roots if root in graph]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += graph.get(name, [])
    for name in range(20):
        assert (documents.media_type(digest(name)) is not None) == (name in reached)
        assert set(documents.child_documents(digest(name))) == {
            digest(child) for child in graph.get(name, []) if name in reached
        }
