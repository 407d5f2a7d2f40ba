"""A cache when things go wrong: its upstreams, its disk, itself."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from e2e.cache_stage import Stage, gave_once, new_stage, pull_at_once, transfers
from lab.commands import require, run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.fetch import Request, fetch
from lab.http_pull import pull_over_http
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with new_stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """One layer of 24 MiB that cannot be compressed."""
    recipe = ImageRecipe(layers=(LayerRecipe(24 * MIB),), architectures=("amd64",), seed="large")
    return make_image(tmp_path_factory.mktemp("large") / "layout", recipe)


async def test_an_upstream_that_restarts_in_the_middle_of_a_pull_is_gone_on_with(stage: Stage, large: Image) -> None:
    await stage.origin.push(large, "demo/large")
    await stage.upstream_host.limit(60)  # 3 s for the layer
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        pull = asyncio.create_task(pull_at_once(cache, "origin.lab/demo/large:v1", 3))
        await asyncio.sleep(1.5)
        await stage.origin.stop()
        await asyncio.sleep(1)
        await stage.origin.start()
        await pull
        received = (await cache.metrics()).total("registryd_upstream_bytes_total")
        layer = large.manifests[0].layers[0].size
        print(f"{received / layer:.3f} of the layer's bytes came from the upstream")
        assert received < 1.1 * layer


async def test_the_last_known_tag_is_served_while_the_upstream_is_off(
    stage: Stage, release: Release, image: Image
) -> None:
    await stage.origin.push(image, "demo/app")
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(stage.cache({"origin.lab": {"url": stage.origin.url}}))
        await pull_over_http(cache, "origin.lab/demo/app:v1")
        await stage.origin.stop()
        node = await stage.network.add_host("node")
        containerd = await stack.enter_async_context(
            running_containerd(release, stage.folder / "n", namespace=node.namespace)
        )
        containerd.write_hosts("origin.lab", Mirror(stage.endpoint), server="http://10.77.255.1")
        began = time.monotonic()
        await containerd.images.pull("origin.lab/demo/app:v1")
        print(f"{release}: pulled without the upstream in {time.monotonic() - began:.2f} s")
        assert (await cache.metrics()).total("registryd_cache_stale_total") >= 1


_MOODY = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen {host}:5006;
    if (-f {folder}/429) {{ return 429; }}
    if (-f {folder}/500) {{ return 500; }}
    add_header Retry-After 60 always;
    location / {{ proxy_pass http://{host}:5000; }}
  }}
}}
"""


@pytest.mark.parametrize("mood", ["429", "500"])
async def test_an_upstream_that_has_had_enough_is_left_alone(stage: Stage, image: Image, mood: str) -> None:
    await stage.origin.push(image, "demo/app")
    folder = stage.folder / "nginx"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "nginx.conf").write_text(_MOODY.format(folder=folder, host=stage.upstream_host.ipv4))
    nginx = [require("nginx", package="nginx"), "-c", str(folder / "nginx.conf")]
    async with (
        running(nginx, log=folder / "out.log", namespace=stage.upstream_host.namespace),
        stage.cache({"origin.lab": {"url": f"http://{stage.upstream_host.ipv4}:5006"}}) as cache,
    ):
        await pull_over_http(cache, "origin.lab/demo/app:v1")
        (folder / mood).touch()
        asked = len((folder / "access.log").read_text().splitlines())
        for _ in range(5):
            await pull_over_http(cache, "origin.lab/demo/app:v1")
        answer = await cache.ask_registry(Request("/v2/demo/app/manifests/v1?ns=origin.lab", "HEAD"))
        assert answer.headers["docker-content-digest"] == image.root.digest
        assert answer.headers["cache-status"].startswith("registryd; hit; ttl=-1; detail=")
        unknown = await cache.ask_registry(Request("/v2/demo/app/manifests/v2?ns=origin.lab"))
        assert unknown.status == 503
        metrics = await cache.metrics()
        assert metrics.total("registryd_cache_stale_total") == 6
        kind = "limited" if mood == "429" else "unreachable"
        assert metrics.total("registryd_upstream_requests_total", answer=kind) >= 1
        # Asked once, for what is not known at all once more, and after 5 s when the machine is busy.
        assert len((folder / "access.log").read_text().splitlines()) - asked <= (1 if mood == "429" else 4)


async def test_a_slow_upstream_is_waited_for_once_and_what_came_is_given_at_once(stage: Stage, large: Image) -> None:
    await stage.origin.push(large, "demo/large")
    layer = large.manifests[0].layers[0]
    await stage.upstream_host.limit(60)  # 3 s for the layer
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        pulls = asyncio.create_task(pull_at_once(cache, "origin.lab/demo/large:v1", 5))
        path = f"/v2/demo/large/blobs/{layer.digest}?ns=origin.lab"
        first = await cache.ask_registry(Request(path, headers=(("Range", "bytes=0-99"),)))
        assert (first.status, len(first.body)) == (206, 100)
        assert not list((stage.folder / "c" / "store").glob(f"blobs/sha256/{layer.digest[7:]}"))
        await pulls
    assert await gave_once(stage.origin, large)


async def test_a_full_disk_is_served_past(stage: Stage, large: Image, image: Image) -> None:
    """A file system of 8 MiB: the small image fits, the large one is sent on, once for all, without being stored."""
    mount = stage.folder / "c" / "store"
    mount.mkdir(parents=True)
    await run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount))
    await stage.origin.push(image, "demo/app")
    await stage.origin.push(large, "demo/large")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        await pull_at_once(cache, "origin.lab/demo/large:v1", 50)
        layer = large.manifests[0].layers[0].digest
        # The rest of it when the disk was full, and all of it for those who came when that was over.
        assert transfers(stage.origin)[layer] <= 3
        received = (await cache.metrics()).total("registryd_upstream_bytes_total")
        print(f"{received / large.manifests[0].layers[0].size:.3f} of the layer's bytes came from the upstream")
        await pull_over_http(cache, "origin.lab/demo/app:v1")
        stage.origin.forget_requests()
        await pull_over_http(cache, "origin.lab/demo/app:v1")
        assert not transfers(stage.origin)
        metrics = await cache.metrics()
        assert metrics.total("registryd_cache_unstored_total") >= 1
        assert "sent without being stored" in cache.process.log.read_text()
    await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(mount))


async def test_fifty_pulls_of_what_has_no_room_cost_the_upstream_each_blob_once(stage: Stage, large: Image) -> None:
    await stage.origin.push(large, "demo/large")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, cache={"size_limit": "8MiB"}) as cache:
        await pull_at_once(cache, "origin.lab/demo/large:v1", 50)
        assert (await cache.metrics()).total("registryd_cache_unstored_total") >= 1
    assert await gave_once(stage.origin, large)


async def test_a_cache_that_is_killed_goes_on_where_it_was(stage: Stage, large: Image) -> None:
    await stage.origin.push(large, "demo/large")
    layer = large.manifests[0].layers[0]
    await stage.upstream_host.limit(60)  # 3 s for the layer
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        store = stage.folder / "c" / "store"
        for come in (6 * MIB, 12 * MIB):
            pull = asyncio.create_task(pull_over_http(cache, "origin.lab/demo/large:v1"))
            await received(store, layer.digest, at_least=come)
            await cache.kill()
            await asyncio.gather(pull, return_exceptions=True)
            said = await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(store))
            assert "all sound" in said
            await cache.start()
        await pull_over_http(cache, "origin.lab/demo/large:v1")
        rest = (await cache.metrics()).total("registryd_upstream_bytes_total")
    print(f"after two kills, {rest / layer.size:.3f} of the layer's bytes were left to fetch")
    assert rest < 0.6 * layer.size
    sent = sum(access.sent for access in stage.origin.requests() if access.reference == layer.digest)
    print(f"{sent / layer.size:.3f} of them in all")


async def received(store: Path, digest: str, *, at_least: int) -> None:
    """Wait until so many bytes of it have come."""
    while not [p for p in store.glob(f"ingest/*/sha256-{digest[7:]}") if p.stat().st_size >= at_least]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def test_a_tag_is_asked_for_with_what_it_meant(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        for _ in range(2):
            await pull_over_http(cache, "origin.lab/demo/app:v1")
    heads = [access.status for access in stage.origin.requests() if (access.method, access.reference) == ("HEAD", "v1")]
    assert heads == [200, 304]


async def push_apps(stage: Stage, folder: Path, count: int) -> None:
    """Images of some 1 MiB that share nothing, demo/app0 and so on."""
    for number in range(count):
        recipe = ImageRecipe(layers=(LayerRecipe(MIB),), architectures=("amd64",), seed=f"limit-{number}")
        await stage.origin.push(make_image(folder / str(number), recipe), f"demo/app{number}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # evicted since it was listed
        return 0


async def test_the_size_limit_holds_under_load(stage: Stage, tmp_path: Path) -> None:
    await push_apps(stage, tmp_path, 12)
    limit = 5 * MIB
    changes = {"cache": {"size_limit": "5MiB", "min_age": "0s"}}
    store = stage.folder / "c" / "store"
    seen = []
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, **changes) as cache:
        pulls = asyncio.gather(*(pull_over_http(cache, f"origin.lab/demo/app{number % 12}:v1") for number in range(48)))
        while not pulls.done():
            seen.append(sum(map(_size, store.glob("blobs/*/*"))))
            await asyncio.sleep(0.02)
        await pulls
        evicted = (await cache.metrics()).total("registryd_cache_evicted_bytes_total")
    print(f"at most {max(seen) / MIB:.2f} MiB of {limit / MIB:.0f}, {evicted / MIB:.1f} MiB evicted")
    assert max(seen) <= limit
    assert evicted > 0
    await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(store))


async def test_pinned_images_stay_and_others_go(stage: Stage, tmp_path: Path) -> None:
    await push_apps(stage, tmp_path, 8)
    changes = {"cache": {"size_limit": "5MiB", "min_age": "0s", "pinned": ["origin.lab/demo/app0:*"]}}
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, **changes) as cache:
        for number in range(8):
            await pull_over_http(cache, f"origin.lab/demo/app{number}:v1")
        assert (await cache.metrics()).total("registryd_cache_evicted_bytes_total") > 0
        stage.origin.forget_requests()
        await pull_over_http(cache, "origin.lab/demo/app0:v1")
        assert not transfers(stage.origin)
        await pull_over_http(cache, "origin.lab/demo/app1:v1")
        assert transfers(stage.origin)


async def test_what_is_new_is_not_removed_for_what_is_newer(stage: Stage, tmp_path: Path) -> None:
    await push_apps(stage, tmp_path, 8)
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, cache={"size_limit": "5MiB"}) as cache:
        for number in range(8):
            await pull_over_http(cache, f"origin.lab/demo/app{number}:v1")
        metrics = await cache.metrics()
        assert metrics.total("registryd_cache_evicted_bytes_total") == 0
        assert metrics.total("registryd_cache_unstored_total") > 0
        stage.origin.forget_requests()
        await pull_over_http(cache, "origin.lab/demo/app0:v1")
        assert not transfers(stage.origin)


async def test_a_blob_of_wrong_bytes_never_arrives_whole(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    layer = image.local.layers[0].digest
    [data] = (stage.folder / "o").glob(f"**/blobs/sha256/*/{layer.partition(':')[2]}/data")
    right = data.read_bytes()
    damaged = bytearray(right)
    damaged[len(damaged) // 2] ^= 1
    data.write_bytes(damaged)
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}):
        url = f"{stage.endpoint}/v2/demo/app/blobs/{layer}?ns=origin.lab"
        with pytest.raises(OSError, match="IncompleteRead"):
            await fetch(url, namespace=stage.cache_host.namespace)
        again = await fetch(Request(url), namespace=stage.cache_host.namespace)
        assert again.status == 503
        # There is nobody else to ask, and what was wrong may have been put right: each time costs one transfer.
        given = await stage.origin.blob_transfers(expected=2)
        assert [access.reference for access in given] == [layer, layer]
        data.write_bytes(right)
        assert (await fetch(url, namespace=stage.cache_host.namespace)).body == right
