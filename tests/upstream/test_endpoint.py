"""The addresses that are asked: as containerd makes them from hosts.toml and image names."""

from __future__ import annotations

import pytest
from yarl import URL

from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint, Site, default_endpoints

ALPINE = Repository(Registry("docker.io"), "library/alpine")


@pytest.mark.parametrize(
    ("url", "override_path", "manifest"),
    [
        ("https://mirror:5000", False, "https://mirror:5000/v2/library/alpine/manifests/3?ns=docker.io"),
        ("https://mirror/v2/", False, "https://mirror/v2/library/alpine/manifests/3?ns=docker.io"),
        ("https://mirror/hub", False, "https://mirror/hub/v2/library/alpine/manifests/3?ns=docker.io"),
        (
            "https://harbor/v2/proxy-docker.io",
            True,
            "https://harbor/v2/proxy-docker.io/library/alpine/manifests/3?ns=docker.io",
        ),
        ("https://registry-1.docker.io", False, "https://registry-1.docker.io/v2/library/alpine/manifests/3"),
    ],
)
def test_manifests(url: str, *, override_path: bool, manifest: str) -> None:
    endpoint = Endpoint.parse(url, override_path=override_path)
    assert str(endpoint.manifest_url(ALPINE, Tag("3"))) == manifest


def test_blobs() -> None:
    digest = Digest.of(b"x")
    endpoint = Endpoint.parse("https://registry-1.docker.io")
    assert str(endpoint.blob_url(ALPINE, digest)) == f"https://registry-1.docker.io/v2/library/alpine/blobs/{digest}"


@pytest.mark.parametrize(
    ("registry", "root"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("ghcr.io", "https://ghcr.io/v2"),
        ("registry.example:5000", "https://registry.example:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("registry.example:443", "https://registry.example/v2"),
        ("registry.example:80", "https://registry.example:80/v2"),
        ("localhost", "https://localhost/v2"),
        ("localhost:443", "https://localhost/v2"),
        ("[::1]", "https://[::1]/v2"),
    ],
)
def test_where_a_registry_is_by_default(registry: str, root: str) -> None:
    (endpoint,) = default_endpoints(Registry(registry))
    assert endpoint.root == URL(root)
    assert not endpoint.vouches_for(endpoint.root), "its name came from an image reference"
    repository = Repository(Registry(registry), "demo/app")
    assert not endpoint.manifest_url(repository, Tag("v1")).query_string


def test_a_mirror_is_told_the_registry_as_it_was_written() -> None:
    repository = Repository(Registry("Registry.example:443"), "demo/app")
    url = Endpoint.parse("https://mirror.example").manifest_url(repository, Tag("v1"))
    assert url.query["ns"] == "Registry.example:443"


def test_a_configured_endpoint_vouches_for_its_own_site_and_named_ones_only() -> None:
    endpoint = Endpoint.parse("http://127.0.0.1:5000")
    assert endpoint.vouches_for(URL("http://127.0.0.1:5000/token"))
    assert not endpoint.vouches_for(URL("http://127.0.0.1:10250/"))
    with_token_server = Endpoint(root=endpoint.root, leads_to=frozenset({Site("127.0.0.1", 5001)}))
    assert with_token_server.vouches_for(URL("http://127.0.0.1:5001/token"))


@pytest.mark.parametrize(
    "url", ["mirror:5000", "ftp://mirror", "https://", "https://u:p@mirror", "https://mirror?a=b", "https://[]@mirror"]
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match="not an endpoint"):
        Endpoint.parse(url)


def test_credentials_are_not_shown() -> None:
    endpoint = Endpoint(root=URL("https://mirror/v2"), credentials=Credentials("robot", "secret"))
    assert "secret" not in repr(endpoint)
    assert endpoint.anonymous().credentials is None


def test_a_user_name_with_a_colon_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="colon"):
        Credentials("a:b", "secret")
