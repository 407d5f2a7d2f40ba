from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid, NameInvalid, OciError, TagInvalid
from registryd.oci.reference import Registry, Repository, Tag, TaggedName, looks_like_host, parse_reference

HUB = Registry("docker.io")
DIGEST = "sha256:" + "a" * 64

# ---- registries


@pytest.mark.parametrize(
    "text",
    [
        "docker.io",
        "registry.k8s.io",
        "localhost",
        "localhost:5000",
        "10.0.0.1:5000",
        "[::1]:5000",
        "[fe80::1]",
        "a",
        "xn--bcher-kva.example",
        "harbor.example:65535",
    ],
)
def test_registry_is_a_host_with_an_optional_port(text: str) -> None:
    assert str(Registry(text)) == text


@pytest.mark.parametrize("text", ["index.docker.io", "registry-1.docker.io", "DOCKER.io", "docker.io"])
def test_docker_hub_has_one_name(text: str) -> None:
    assert Registry(text) == HUB


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "a/b",
        "a:",
        "a:b",
        "a:123456",
        "a:99999",
        "a:65536",
        "a:0",
        "::1",
        "[::1",
        "[]",
        "[:::::]",
        "[1.2.3]",
        "user@host",
        "host\n",
        "host\r\nX: y",
        "hóst",
        "http://host",
        "a" * 64,
        ".".join(["a" * 63] * 5),
        "host?x",
        "host#x",
        "host%2e",
        "\u212a.example",  # a Kelvin sign, which lower() turns into k
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        Registry(text)


@pytest.mark.parametrize(
    ("component", "expected"),
    [("docker.io", True), ("host:5000", True), ("localhost", True), ("library", False), ("", False)],
)
def test_first_component_names_a_registry(component: str, *, expected: bool) -> None:
    assert looks_like_host(component) is expected


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Registry.Example", "registry.example"),
        ("registry.example.", "registry.example"),
        ("registry.example:443", "registry.example"),
        ("REGISTRY.example.:00443", "registry.example"),
        ("registry.example:05000", "registry.example:5000"),
        ("registry.example:80", "registry.example:80"),  # where containerd speaks TLS
        ("docker.io:443", "docker.io"),
        ("Index.Docker.io:443", "docker.io"),
        ("docker.io:5000", "docker.io:5000"),
        ("[2001:DB8:0:0::01]", "[2001:db8::1]"),
        ("[2001:db8::1]:0443", "[2001:db8::1]"),
        ("[0::1]:5000", "[::1]:5000"),
        ("10.0.0.1:443", "10.0.0.1"),
    ],
)
def test_a_registry_is_one_however_it_is_written(text: str, host: str) -> None:
    registry = Registry(text)
    assert registry.host == str(registry) == host
    assert (registry, hash(registry)) == (Registry(host), hash(Registry(host)))
    assert not registry < Registry(host)
    assert registry.written == ("docker.io" if host == "docker.io" else text)


@pytest.mark.parametrize(
    ("text", "has_port"),
    [("a.example:5000", True), ("[::1]:5000", True), ("[::1]", False), ("docker.io", False), ("a.example:443", False)],
)
def test_whether_a_registry_has_a_port_of_its_own(text: str, *, has_port: bool) -> None:
    assert Registry(text).has_port is has_port


@pytest.mark.parametrize(
    ("text", "name"),
    [("a.example:5000", "a.example"), ("[::1]:5000", "::1"), ("[::1]", "::1"), ("docker.io", "docker.io")],
)
def test_the_name_of_a_registrys_host(text: str, name: str) -> None:
    assert Registry(text).hostname == name


def test_what_containerd_calls_a_name_is_kept() -> None:
    name = TaggedName.parse("Registry.Example:0443/demo/app:v1")
    assert str(name) == "registry.example/demo/app:v1"
    assert name.written == "Registry.Example:0443/demo/app:v1"
    assert name == TaggedName.parse("registry.example/demo/app:v1")
    assert Repository.parse(name.repository.written) == name.repository


# ---- repositories and tags


@pytest.mark.parametrize(
    "path", ["a", "library/alpine", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1", "a" * 245]
)
def test_repository_paths(path: str) -> None:
    assert Repository(HUB, path).path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "UPPER/v2/x",
        "a..b",
        "a___b",
        "a.-b",
        ".a",
        "a.",
        "_a",
        "-a",
        "..",
        "a/../b",
        "a/./b",
        "a b",
        "a\n",
        "a\0",
        "a%2fb",
        "ä",
        "a:b",
        "a@b",
        "a" * 246,
    ],
)
def test_what_is_no_repository_is_refused(path: str) -> None:
    with pytest.raises(NameInvalid):
        Repository(HUB, path)


@pytest.mark.parametrize("name", ["latest", "v1.2.3", "_x", "A", "0", "a" * 128, "1-2_3.4"])
def test_tags(name: str) -> None:
    assert str(Tag(name)) == name


@pytest.mark.parametrize("name", ["", ".x", "-x", "a" * 129, "a/b", "a:b", "a b", "a\n", "ä", "a+b", "..", "a\0"])
def test_what_is_no_tag_is_refused(name: str) -> None:
    with pytest.raises(TagInvalid):
        Tag(name)


def test_reference_is_a_tag_or_a_digest() -> None:
    assert parse_reference("v1") == Tag("v1")
    assert parse_reference(DIGEST) == Digest.parse(DIGEST)
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:short")
    with pytest.raises(TagInvalid):
        parse_reference("a/b")


# ---- full names


@pytest.mark.parametrize(
    "text",
    [
        "docker.io/library/alpine:3.20",
        "localhost/app:v1",
        "localhost:5000/a/b/c:latest",
        "[::1]:5000/app:v1",
        "registry.example:5000/app:_",
    ],
)
def test_full_names_are_read_and_written(text: str) -> None:
    assert str(TaggedName.parse(text)) == text


def test_full_name_has_parts() -> None:
    name = TaggedName.parse("index.docker.io/library/alpine:3.20")
    assert (name.repository.registry, name.repository.path, name.tag) == (HUB, "library/alpine", Tag("3.20"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alpine",
        "alpine:3",
        "library/alpine:3",
        "docker.io/library/alpine",
        "docker.io/library/alpine:",
        "docker.io/:v1",
        "docker.io:v1",
        f"docker.io/library/alpine@{DIGEST}",
        f"docker.io/library/alpine:v1@{DIGEST}",
        "docker.io/library/alpine:v1:v2",
        "sha256:" + "a" * 64,
        "docker.io/../etc:v1",
    ],
)
def test_names_that_are_not_full_are_not_guessed_at(text: str) -> None:
    with pytest.raises(OciError):
        TaggedName.parse(text)


_HOSTILE = st.text(st.characters() | st.sampled_from("/:.@-_[]%\0\n"), max_size=300)


@given(_HOSTILE)
def test_anything_is_read_or_refused(text: str) -> None:
    for parse in (Registry, Tag, TaggedName.parse, parse_reference, lambda path: Repository(HUB, path)):
        try:
            parsed = parse(text)
        except OciError:
            continue
        assert str(parsed).isascii()
        assert not set(str(parsed)) & set("\0\n\r %?#\\")
        # "0.." is a tag like any other; nothing is a step out of a folder.
        assert not {".", ".."} & set(re.split("[/:@]", str(parsed)))
