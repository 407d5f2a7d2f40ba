"""Lists of images as people have them."""

from __future__ import annotations

import json

import pytest

from registryd.inventory.lists import ImageName, ListInvalid, decode_list, parse_list

DIGEST = "sha256:" + "ab" * 32

TALOSCTL = """
ghcr.io/siderolabs/flannel:v0.26.4
registry.k8s.io/coredns/coredns:v1.12.0
gcr.io/etcd-development/etcd:v3.5.17
registry.k8s.io/pause:3.10
"""


def names(text: str) -> list[str]:
    return [str(image) for image in parse_list(text)]


def test_what_talosctl_prints() -> None:
    assert names(TALOSCTL) == sorted(TALOSCTL.split())


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry.example:5000/team/app", "registry.example:5000/team/app:latest"),
        (f"ghcr.io/acme/app:v1@{DIGEST}", f"ghcr.io/acme/app:v1@{DIGEST}"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
    ],
)
def test_short_names_are_completed_as_containerd_does(short: str, full: str) -> None:
    assert str(ImageName.parse(short)) == full


@pytest.mark.parametrize(
    ("name", "pulled", "others"),
    [
        ("alpine:3", "docker.io/library/alpine:3", []),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", []),
        (f"ghcr.io/acme/app:v1@{DIGEST}", f"ghcr.io/acme/app@{DIGEST}", ["ghcr.io/acme/app:v1"]),
    ],
)
def test_a_digest_goes_before_a_tag_and_both_are_names(name: str, pulled: str, others: list[str]) -> None:
    image = ImageName.parse(name)
    assert str(image.pull_name) == pulled
    assert [str(each) for each in image.names] == [pulled, *others]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_windows_writes_is_read(encoding: str) -> None:
    assert names(decode_list("alpine:3\r\nghcr.io/acme/app:v1 # für uns\r\n".encode(encoding))) == [
        "docker.io/library/alpine:3",
        "ghcr.io/acme/app:v1",
    ]


@pytest.mark.parametrize("data", [b"alpine\xff", b"\xff\xfea", b"\xef\xbb\xbf\xff"])
def test_what_is_no_text_is_said(data: bytes) -> None:
    with pytest.raises(ListInvalid, match="not text in UTF-8 or UTF-16"):
        decode_list(data)


def test_comments_columns_and_repetitions_are_no_images() -> None:
    assert names("# ours\nalpine   # small\nalpine:latest  12 MB\n\n") == ["docker.io/library/alpine:latest"]


def test_what_kubectl_prints() -> None:
    pods = {
        "kind": "List",
        "items": [
            {
                "kind": "Pod",
                "spec": {
                    "initContainers": [{"name": "init", "image": "busybox:1.36"}],
                    "containers": [{"name": "app", "image": "ghcr.io/acme/app:v1"}],
                    "ephemeralContainers": [{"name": "debug", "image": "alpine"}],
                },
                "status": {"containerStatuses": [{"image": "sha256:abc", "imageID": "x"}]},
            },
            {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": "ghcr.io/acme/app:v1"}]}}}},
        ],
    }
    assert names(json.dumps(pods)) == [
        "docker.io/library/alpine:latest",
        "docker.io/library/busybox:1.36",
        "ghcr.io/acme/app:v1",
    ]


def test_a_json_array_of_names() -> None:
    assert names('["alpine", "ghcr.io/acme/app:v1"]') == ["docker.io/library/alpine:latest", "ghcr.io/acme/app:v1"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("alpine\nNot A Name\n", "line 2"),
        ("{", "not JSON"),
        ('{"items": []}', "no containers"),
        ("ghcr.io/acme/app@sha256:12", "line 1"),
        ("alpine\nregistry.k8s.io/pause:3.10 ghcr.io/acme/app:v1", "line 2: more than one image in a line"),
        ("NODE IMAGE DIGEST\n10.5.0.2 docker.io/library/alpine:3 sha256:ab", "line 1"),
    ],
)
def test_what_is_no_list_says_where(text: str, complaint: str) -> None:
    with pytest.raises(ListInvalid, match=complaint):
        parse_list(text)
