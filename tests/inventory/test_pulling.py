"""A node's containerd is had pull a list of images: what is there is left out, failures are said, nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from registryd.commands.prefetch import prefetch
from registryd.failures import CommandFailed
from tests.caching.world import until
from tests.fakes.cri import FakeImages, serve_images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = ["docker.io/library/alpine:3", "ghcr.io/acme/app:v1", f"ghcr.io/acme/tool@sha256:{'0' * 64}"]


class Node:
    """Runs the command against a fake containerd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = FakeImages()
        self.socket = folder / "c.sock"
        (folder / "images.txt").write_text("alpine:3\nghcr.io/acme/app:v1\n" + NAMES[2])

    async def prefetch(self, **more: Any) -> int:
        words: dict[str, Any] = {"into": "containerd", "containerd_socket": self.socket, "json": True} | more
        return await prefetch(images=[str(self.folder / "images.txt")], **words)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    async with serve_images(node.images, node.socket):
        yield node


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_every_image_is_pulled_and_none_a_second_time(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.images.there[NAMES[0]] = 5
    assert await node.prefetch() == 0
    document = printed(capsys)
    assert document["complete"]
    assert [(each["image"], each["was_there"], each["bytes"]) for each in document["images"]] == [
        (NAMES[0], True, 5),
        (NAMES[1], False, 1000),
        (NAMES[2], False, 1000),
    ]
    assert sorted(node.images.pulls, key=str) == [(NAMES[1], None), (NAMES[2], None)]
    assert await node.prefetch() == 0
    assert len(node.images.pulls) == 2
    assert [each["was_there"] for each in printed(capsys)["images"]] == [True] * 3


async def test_what_breaks_off_is_tried_again_and_what_fails_is_said(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.images.failures = {NAMES[0]: 2, NAMES[1]: 99}
    assert await node.prefetch() == 1
    first, second, third = printed(capsys)["images"]
    assert (first["complete"], second["complete"], third["complete"]) == (True, False, True)
    assert second["problem"] == "containerd: UNKNOWN: no such luck"
    assert [name for name, _ in node.images.pulls].count(NAMES[1]) == 3


async def test_no_more_at_a_time_than_was_said(node: Node) -> None:
    node.images.gate = asyncio.Event()
    work = asyncio.create_task(node.prefetch(parallel=2))
    await until(lambda: node.images.running == 2)
    node.images.gate.set()
    assert await work == 0
    assert node.images.most_running == 2


async def test_people_are_shown_a_table(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.images.failures = {NAMES[1]: 99}
    assert await node.prefetch(json=False) == 1
    out = capsys.readouterr().out
    assert "3 images, 1 incomplete" in out
    assert f"{NAMES[1]}" in out
    assert "no such luck" in out


async def test_logins_go_with_the_images_of_their_registry_and_name_its_server(node: Node, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    logins = {
        "ghcr.io": {"auth": base64.b64encode(b"me:secret").decode()},
        "https://index.docker.io/v1/": {"identitytoken": "refresh"},
    }
    config.write_text(json.dumps({"auths": logins}))
    assert await node.prefetch(docker_config=config, for_every_pod=True) == 0
    sent = {name: auth for name, auth in node.images.pulls if auth}
    ours, hub = sent[NAMES[1]], sent[NAMES[0]]
    assert (ours.username, ours.password, ours.server_address) == ("me", "secret", "https://ghcr.io")
    assert (hub.identity_token, hub.server_address) == ("refresh", "https://registry-1.docker.io")


async def test_a_login_that_cannot_be_read_fails_the_image_and_not_the_others(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"ghcr.io": {"auth": "%"}}}))
    assert await node.prefetch(docker_config=config, for_every_pod=True) == 1
    assert [each["complete"] for each in printed(capsys)["images"]] == [True, False, False]


async def test_a_containerd_that_goes_away_fails_what_is_left(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.images.failures = dict.fromkeys(NAMES, 99)
    node.images.status = grpc.StatusCode.UNAVAILABLE
    assert await node.prefetch() == 1
    assert {each["problem"] for each in printed(capsys)["images"]} == {"containerd: UNAVAILABLE: no such luck"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"containerd_socket": "none"}, "there is no containerd at"),
        ({"platform": ["all"]}, "are for a cache"),
        ({"into": "http://127.0.0.1:9", "docker_config": "config.json"}, "upstreams.docker_config"),
    ],
)
async def test_what_does_not_go_together_is_said(node: Node, words: dict[str, Any], said: str) -> None:
    paths = {
        key: node.folder / value if isinstance(value, str) and key != "into" else value for key, value in words.items()
    }
    with pytest.raises(CommandFailed, match=said):
        await node.prefetch(**paths)
