"""Paths of the distribution API: what is read, what is refused, and that nothing else comes out."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.digest import Digest
from registryd.oci.errors import CODES, DigestInvalid, NameInvalid, NameUnknown, OciError, PathUnknown, TagInvalid
from registryd.oci.reference import Registry, Repository, Tag
from registryd.serving.paths import ApiBase, BlobPath, ManifestPath, ReferrersPath, TagsPath, parse_path

DIGEST = Digest.of(b"content")
ALPINE = Repository(Registry("docker.io"), "library/alpine")


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_base(path: str) -> None:
    assert parse_path(path, namespace=None) == ApiBase()


def test_the_registry_is_that_of_ns() -> None:
    path = parse_path("/v2/library/alpine/manifests/3.20", namespace="docker.io")
    assert path == ManifestPath(ALPINE, Tag("3.20"))


def test_the_registry_is_the_first_component_that_looks_like_a_host() -> None:
    path = parse_path(f"/v2/docker.io/library/alpine/blobs/{DIGEST}", namespace=None)
    assert path == BlobPath(ALPINE, DIGEST)


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("namespace", ["docker.io", "registry-1.docker.io"])
def test_the_registry_of_ns_may_stand_in_the_path_besides(host: str, namespace: str) -> None:
    path = parse_path(f"/v2/{host}/library/alpine/manifests/3.20", namespace=namespace)
    assert path == ManifestPath(ALPINE, Tag("3.20"))


def test_a_repository_of_one_component_may_look_like_its_registry() -> None:
    path = parse_path("/v2/r.example/manifests/v1", namespace="r.example")
    assert path == ManifestPath(Repository(Registry("r.example"), "r.example"), Tag("v1"))


def test_a_component_that_looks_like_a_host_and_is_none_is_refused_as_a_name() -> None:
    with pytest.raises(NameInvalid):
        parse_path("/v2/a..b/app/manifests/v1", namespace="r.example")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("alpine", "library/alpine"), ("library/alpine", "library/alpine"), ("grafana/grafana", "grafana/grafana")],
)
def test_the_default_registry_is_that_of_names_without_one(name: str, expected: str) -> None:
    path = parse_path(f"/v2/{name}/blobs/{DIGEST}", namespace=None, default=Registry("docker.io"))
    assert path == BlobPath(Repository(Registry("docker.io"), expected), DIGEST)


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io"])
def test_docker_hubs_own_images_may_be_named_in_the_path_as_people_write_them(host: str) -> None:
    """`crane pull cache:3172/docker.io/alpine`: the client knows nothing of the registry behind."""
    path = parse_path(f"/v2/{host}/alpine/manifests/3", namespace=None)
    assert path == ManifestPath(ALPINE, Tag("3"), stays=True)
    assert parse_path("/v2/quay.io/alpine/tags/list", namespace=None) == TagsPath(
        Repository(Registry("quay.io"), "alpine")
    )


def test_only_docker_hub_has_a_library() -> None:
    path = parse_path(f"/v2/app/blobs/{DIGEST}", namespace=None, default=Registry("r.example"))
    assert path == BlobPath(Repository(Registry("r.example"), "app"), DIGEST)


def test_a_host_in_the_path_goes_before_the_default_registry() -> None:
    path = parse_path(f"/v2/quay.io/a/b/blobs/{DIGEST}", namespace=None, default=Registry("docker.io"))
    assert path == BlobPath(Repository(Registry("quay.io"), "a/b"), DIGEST)


@pytest.mark.parametrize(("namespace", "stays"), [(None, True), ("r.example", False)])
def test_who_says_no_namespace_takes_us_for_the_registry(namespace: str | None, stays: bool) -> None:
    path = parse_path("/v2/r.example/app/manifests/v1", namespace=namespace)
    assert path == ManifestPath(Repository(Registry("r.example"), "app"), Tag("v1"), stays=stays)


def test_ns_wins_over_a_first_component_that_looks_like_a_host() -> None:
    path = parse_path(f"/v2/quay.io/app/manifests/{DIGEST}", namespace="mirror.example:5000")
    assert path == ManifestPath(Repository(Registry("mirror.example:5000"), "quay.io/app"), DIGEST)


def test_a_path_is_told_as_an_image_is_named() -> None:
    assert str(ManifestPath(ALPINE, Tag("3.20"))) == "docker.io/library/alpine:3.20"
    assert str(ManifestPath(ALPINE, DIGEST)) == f"docker.io/library/alpine@{DIGEST}"
    assert str(BlobPath(ALPINE, DIGEST)) == f"docker.io/library/alpine@{DIGEST}"


def test_lists() -> None:
    assert parse_path(f"/v2/library/alpine/referrers/{DIGEST}", namespace="docker.io") == ReferrersPath(ALPINE, DIGEST)
    assert parse_path("/v2/docker.io/library/alpine/tags/list", namespace=None) == TagsPath(ALPINE)
    assert str(TagsPath(ALPINE)) == "tags of docker.io/library/alpine"
    for path in ("/v2/tags/list", "/v2/library/alpine/tags/list/", "/v2/library/alpine/referrers/"):
        with pytest.raises(PathUnknown):
            parse_path(path, namespace="docker.io")
    with pytest.raises(DigestInvalid):
        parse_path("/v2/library/alpine/referrers/latest", namespace="docker.io")


def test_a_repository_may_be_called_manifests() -> None:
    path = parse_path("/v2/a/manifests/b/manifests/v1", namespace="r.example")
    assert path == ManifestPath(Repository(Registry("r.example"), "a/manifests/b"), Tag("v1"))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/", PathUnknown),
        ("/v1/", PathUnknown),
        ("/v2//manifests/v1", PathUnknown),
        ("/v2/_catalog", PathUnknown),
        ("/v2/a/blobs/uploads/", PathUnknown),
        ("/v2/a/manifests/", PathUnknown),
        (f"/x/v2/a/blobs/{DIGEST}", PathUnknown),
        (f"/v2/a/blobs/{DIGEST}/more", PathUnknown),
        ("/v2/a/blobs/v1", DigestInvalid),
        ("/v2/a/blobs/sha256:12", DigestInvalid),
        ("/v2/a/manifests/md5:12", DigestInvalid),
        ("/v2/a/manifests/.v1", TagInvalid),
        (f"/v2/a/manifests/{'t' * 129}", TagInvalid),
        ("/v2/UPPER/v2/x/manifests/latest", NameInvalid),
        ("/v2/../../etc/manifests/latest", NameInvalid),
        ("/v2/a//b/manifests/latest", NameInvalid),
        (f"/v2/{'a' * 300}/manifests/latest", NameInvalid),
    ],
)
def test_everything_else_is_refused_by_name(path: str, error: type[OciError]) -> None:
    with pytest.raises(error):
        parse_path(path, namespace="r.example")


@pytest.mark.parametrize("path", ["/v2/library/alpine/manifests/3", "/v2/alpine/manifests/3"])
def test_without_a_registry_the_error_says_how_to_name_it(path: str) -> None:
    with pytest.raises(NameUnknown, match=r"ns=docker\.io"):
        parse_path(path, namespace=None)


@pytest.mark.parametrize("namespace", ["", "a/b", "http://r.example", "r.example:port", "-", "r.example\n", "x" * 300])
def test_a_namespace_that_is_no_host_is_refused(namespace: str) -> None:
    with pytest.raises(NameInvalid):
        parse_path("/v2/a/manifests/latest", namespace=namespace)


_PIECES = st.sampled_from(
    [
        "/v2/",
        "manifests",
        "blobs",
        "referrers",
        "tags/list",
        "/",
        "..",
        "%2e",
        str(DIGEST),
        "sha256:",
        "a",
        "A",
        ":",
        "\0",
        "é",
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.one_of(st.none(), st.text()))
def test_hostile_paths_are_read_or_refused_with_an_error_of_the_table(path: str, namespace: str | None) -> None:
    with suppress(*CODES):
        parse_path(path, namespace=namespace)
