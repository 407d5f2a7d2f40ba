"""One cache for every upstream: real containerds and plain clients in front, real registries of all kinds behind."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from registryd.lab.authority import make_key_pair
from registryd.lab.cache import running_cache
from registryd.lab.commands import require, run
from registryd.lab.containerd import running_containerd
from registryd.lab.containerd_config import Mirror
from registryd.lab.fetch import Request, fetch
from registryd.lab.http_pull import pull_over_http
from registryd.lab.images import MIB, ImageRecipe, make_image
from registryd.lab.layers import LayerRecipe
from registryd.lab.leftovers import workspace
from registryd.lab.network import new_network
from registryd.lab.origin import CREDENTIALS, running_origin
from registryd.lab.process import running
from registryd.lab.token_server import registry_settings
from registryd.lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.lab.agent import Agent
    from registryd.lab.images import Image
    from registryd.lab.network import Host, Network
    from registryd.lab.origin import Origin
    from registryd.lab.toml_text import Table
    from registryd.lab.versions import Release

pytestmark = pytest.mark.timeout(180)

OPEN = {"authorization": {"mode": "open"}}


@dataclass(frozen=True)
class Stage:
    """A host with upstreams, a host with a cache; the upstreams share one storage."""

    folder: Path
    network: Network
    upstream_host: Host
    cache_host: Host
    origin: Origin

    def address(self, host: Host, port: int) -> str:
        return f"{host.ipv4}:{port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.cache_host.ipv4}:3172"

    @asynccontextmanager
    async def front(self, port: int, **options: object) -> AsyncIterator[Origin]:
        """Another registry over the same content."""
        folder = self.folder / f"front{port}"
        address = self.address(self.upstream_host, port)
        namespace = self.upstream_host.namespace
        opening = running_origin(folder, address=address, namespace=namespace, storage=self.folder / "o", **options)  # type: ignore[arg-type]
        async with opening as front:
            yield front

    @asynccontextmanager
    async def cache(self, registries: Table, **changes: object) -> AsyncIterator[Agent]:
        """The cache, with these upstreams."""
        listen = f"{self.cache_host.ipv4}:3172"
        settings = merged({"upstreams": {"registries": registries}}, changes)  # type: ignore[arg-type]
        namespace = self.cache_host.namespace
        async with running_cache(self.folder / "c", listen=listen, changes=settings, namespace=namespace) as cache:
            try:
                yield cache
            except BaseException:
                print(cache.process.log_tail())
                raise


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        network = await stack.enter_async_context(new_network())
        upstreams, cache = await network.add_host("upstreams"), await network.add_host("cache")
        origin = running_origin(folder / "o", address=f"{upstreams.ipv4}:5000", namespace=upstreams.namespace)
        yield Stage(folder, network, upstreams, cache, await stack.enter_async_context(origin))


def transfers(origin: Origin) -> Counter[str]:
    return Counter(access.reference for access in origin.requests() if access.is_blob_transfer)


def digests(image: Image) -> list[str]:
    return [image.local.config.digest, *(layer.digest for layer in image.local.layers)]


async def pull_at_once(cache: Agent, reference: str, count: int) -> None:
    await asyncio.gather(*(pull_over_http(cache, reference) for _ in range(count)))


# Upstreams of every kind


async def test_containerd_pulls_from_four_upstreams_through_one_cache(
    stage: Stage, release: Release, image: Image
) -> None:
    """Basic authentication, a token server, TLS with an authority of its own, and a path as Harbor has it."""
    host = stage.upstream_host
    password = stage.folder / "password"
    password.write_text(CREDENTIALS.password)
    pair = await make_key_pair(stage.folder, address=host.ipv4)
    login = {"username": CREDENTIALS.username, "password_file": str(password)}
    for repository in ("demo/app", "proxy-hub/demo/app"):
        await stage.origin.push(image, repository)
    tokens = f"{host.ipv4}:5009"
    server = [sys.executable, "-m", "registryd.lab.token_server", tokens, str(pair.certificate), str(pair.key)]
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            running(
                [*server, f"{CREDENTIALS.username}:{CREDENTIALS.password}"],
                log=stage.folder / "tokens.log",
                namespace=host.namespace,
            )
        )
        settings = registry_settings(f"http://{tokens}/token", pair)
        fronts = {
            "basic.lab": await stack.enter_async_context(stage.front(5001, is_private=True)),
            "bearer.lab": await stack.enter_async_context(stage.front(5002, extra=settings)),
            "tls.lab": await stack.enter_async_context(stage.front(5003, extra=tls)),
            "harbor.lab": await stack.enter_async_context(stage.front(5004)),
        }
        registries: dict[str, Table] = {
            "basic.lab": {"url": fronts["basic.lab"].url, **login},
            "bearer.lab": {"url": fronts["bearer.lab"].url, **login},
            "tls.lab": {"url": f"https://{fronts['tls.lab'].address}", "ca": str(pair.certificate)},
            "harbor.lab": {"url": f"{fronts['harbor.lab'].url}/v2/proxy-hub", "override_path": True},
        }
        changes = {**OPEN, "cache": {"insecure": True}}
        cache = await stack.enter_async_context(stage.cache(registries, **changes))
        node = await stage.network.add_host("node")
        containerd = await stack.enter_async_context(
            running_containerd(release, stage.folder / "n", namespace=node.namespace)
        )
        containerd.write_hosts("_default", Mirror(stage.endpoint), server="http://10.77.255.1")
        for name in registries:
            began = time.monotonic()
            await containerd.images.pull(f"{name}/demo/app:v1")
            print(f"{release}: {name} in {time.monotonic() - began:.2f} s")
            await containerd.images.remove(f"{name}/demo/app:v1")
            await containerd.wait_blobs_gone(*digests(image))
        # One content, whatever the name: the first upstream gave it, and nobody was asked for a byte again.
        assert transfers(fronts["basic.lab"]) == Counter(digests(image))
        for name in ("bearer.lab", "tls.lab", "harbor.lab"):
            assert not transfers(fronts[name])
            assert any(access.method == "HEAD" for access in fronts[name].requests())
        assert (await cache.metrics()).total("registryd_upstream_requests_total", answer="given") > 0


@pytest.mark.parametrize("mode", ["bearer", "tls"])
async def test_blobs_come_by_token_and_by_tls(stage: Stage, image: Image, mode: str) -> None:
    host = stage.upstream_host
    await stage.origin.push(image, "demo/app")
    pair = await make_key_pair(stage.folder, address=host.ipv4)
    tokens = f"{host.ipv4}:5009"
    server = [sys.executable, "-m", "registryd.lab.token_server", tokens, str(pair.certificate), str(pair.key), "a:b"]
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
    extra = tls if mode == "tls" else registry_settings(f"http://{tokens}/token", pair)
    url = f"{'https' if mode == 'tls' else 'http'}://{host.ipv4}:5002"
    async with (
        running([*server, "demo/app"], log=stage.folder / "tokens.log", namespace=host.namespace),
        stage.front(5002, extra=extra) as front,
        stage.cache({"it.lab": {"url": url, "ca": str(pair.certificate)}}) as cache,
    ):
        await pull_at_once(cache, "it.lab/demo/app:v1", 5)
        assert transfers(front) == Counter(digests(image))
        # One token for the repository, however many asked.
        asked = (stage.folder / "tokens.log").read_text().count("GET /token")
        assert asked == (0 if mode == "tls" else 1)


async def test_skopeo_copies_through_the_cache(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    skopeo = require("skopeo", package="skopeo")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}):
        source = f"docker://{stage.cache_host.ipv4}:3172/origin.lab/demo/app:v1"
        target = stage.folder / "copied"
        command = [skopeo, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{target}:v1"]
        await run(*stage.cache_host.namespace.command(*command))
        index = json.loads((target / "index.json").read_text())
        assert index["manifests"][0]["digest"] == image.root.digest


_REDIRECTING = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}
http {{
  log_format credentials '$request_uri "$http_authorization"';
  access_log {folder}/storage.log credentials;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen {host}:5006; access_log off;
    auth_basic lab; auth_basic_user_file {folder}/users;
    location / {{ proxy_pass http://{host}:5000; proxy_set_header Authorization ""; }}
    location ~ /blobs/ {{ return 307 http://{storage}:5007$request_uri; }}
  }}
  server {{ listen {storage}:5007; location / {{ proxy_pass http://{host}:5000; }} }}
}}
"""


async def test_blobs_on_another_host_are_fetched_without_the_credentials(stage: Stage, image: Image) -> None:
    host, storage = stage.upstream_host, "10.77.9.9"
    await run("ip", "-n", host.namespace.name, "address", "add", f"{storage}/16", "dev", "eth0")
    await stage.origin.push(image, "demo/app")
    folder = stage.folder / "nginx"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "users").write_text(f"{CREDENTIALS.username}:{{PLAIN}}{CREDENTIALS.password}\n")
    (folder / "nginx.conf").write_text(_REDIRECTING.format(folder=folder, host=host.ipv4, storage=storage))
    (folder / "password").write_text(CREDENTIALS.password)
    login = {"username": CREDENTIALS.username, "password_file": str(folder / "password")}
    nginx = [require("nginx", package="nginx"), "-c", str(folder / "nginx.conf")]
    changes = {**OPEN, "cache": {"insecure": True}}
    async with (
        running(nginx, log=folder / "out.log", namespace=host.namespace),
        stage.cache({"origin.lab": {"url": f"http://{host.ipv4}:5006", **login}}, **changes) as cache,
    ):
        await pull_over_http(cache, "origin.lab/demo/app:v1")
    lines = (folder / "storage.log").read_text().splitlines()
    assert len(lines) == len(digests(image))
    assert all(line.endswith(' "-"') for line in lines)


# Many at once


async def test_fifty_pulls_of_a_new_image_cost_the_upstream_each_blob_once(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}) as cache:
        began = time.monotonic()
        await pull_at_once(cache, "origin.lab/demo/app:v1", 50)
        print(f"50 pulls in {time.monotonic() - began:.2f} s")
    assert transfers(stage.origin) == Counter(digests(image))
    manifests = [access for access in stage.origin.requests() if access.kind == "manifests"]
    assert Counter(access.reference for access in manifests if access.method == "GET") == Counter(
        [image.root.digest, image.local.blob.digest]
    )


# Trouble


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
        assert "goes past the store" in cache.process.log.read_text()
    await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(mount))


async def test_fifty_pulls_of_what_has_no_room_cost_the_upstream_each_blob_once(stage: Stage, large: Image) -> None:
    await stage.origin.push(large, "demo/large")
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, cache={"size_limit": "8MiB"}) as cache:
        await pull_at_once(cache, "origin.lab/demo/large:v1", 50)
        assert (await cache.metrics()).total("registryd_cache_unstored_total") >= 1
    assert transfers(stage.origin) == Counter(digests(large))


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


async def test_the_size_limit_holds_under_load(stage: Stage, tmp_path: Path) -> None:
    images = []
    for number in range(12):
        recipe = ImageRecipe(layers=(LayerRecipe(MIB),) * 1, architectures=("amd64",), seed=f"limit-{number}")
        images.append(make_image(tmp_path / str(number), recipe))
        await stage.origin.push(images[-1], f"demo/app{number}")
    limit = 5 * MIB
    changes = {"cache": {"size_limit": "5MiB", "min_age": "0s"}}
    store = stage.folder / "c" / "store"
    seen = []
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}, **changes) as cache:
        pulls = asyncio.gather(*(pull_over_http(cache, f"origin.lab/demo/app{number % 12}:v1") for number in range(48)))
        while not pulls.done():
            files = [path for path in store.glob("blobs/*/*") if path.exists()]
            seen.append(sum(path.stat().st_size for path in files if path.exists()))
            await asyncio.sleep(0.02)
        await pulls
        evicted = (await cache.metrics()).total("registryd_cache_evicted_bytes_total")
    print(f"at most {max(seen) / MIB:.2f} MiB of {limit / MIB:.0f}, {evicted / MIB:.1f} MiB evicted")
    assert max(seen) <= limit
    assert evicted > 0
    await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(store))


async def test_a_blob_of_wrong_bytes_never_arrives_whole(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    layer = image.local.layers[0].digest
    [data] = (stage.folder / "o").glob(f"**/blobs/sha256/*/{layer.partition(':')[2]}/data")
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    data.write_bytes(damaged)
    async with stage.cache({"origin.lab": {"url": stage.origin.url}}):
        url = f"{stage.endpoint}/v2/demo/app/blobs/{layer}?ns=origin.lab"
        with pytest.raises(OSError, match="IncompleteRead"):
            await fetch(url, namespace=stage.cache_host.namespace)
        again = await fetch(Request(url), namespace=stage.cache_host.namespace)
        assert again.status == 503
    assert transfers(stage.origin) == Counter([layer])
