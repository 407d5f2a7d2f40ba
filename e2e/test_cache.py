"""One cache for every upstream: real containerds and plain clients in front, real registries of all kinds behind."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from e2e.cache_stage import OPEN, Stage, digests, gave_once, new_stage, pull_at_once, transfers
from lab.authority import make_key_pair
from lab.commands import require, run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.http_pull import pull_over_http
from lab.origin import CREDENTIALS
from lab.process import running
from lab.token_server import registry_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with new_stage() as stage:
        yield stage


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
    server = [sys.executable, "-m", "lab.token_server", tokens, str(pair.certificate), str(pair.key)]
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
        assert await gave_once(fronts["basic.lab"], image)
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
    server = [sys.executable, "-m", "lab.token_server", tokens, str(pair.certificate), str(pair.key), "a:b"]
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
    extra = tls if mode == "tls" else registry_settings(f"http://{tokens}/token", pair)
    url = f"{'https' if mode == 'tls' else 'http'}://{host.ipv4}:5002"
    async with (
        running([*server, "demo/app"], log=stage.folder / "tokens.log", namespace=host.namespace),
        stage.front(5002, extra=extra) as front,
        stage.cache({"it.lab": {"url": url, "ca": str(pair.certificate)}}) as cache,
    ):
        await pull_at_once(cache, "it.lab/demo/app:v1", 5)
        assert await gave_once(front, image)
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
    assert await gave_once(stage.origin, image)
    manifests = [access for access in stage.origin.requests() if access.kind == "manifests"]
    assert Counter(access.reference for access in manifests if access.method == "GET") == Counter(
        [image.root.digest, image.local.blob.digest]
    )
