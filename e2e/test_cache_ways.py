"""How a cache gets to its upstreams: logins as Docker keeps them, proxies, mirrors, a certificate of its own."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.cache_stage import OPEN, Stage, gave_once, new_stage, pull_at_once
from lab.authority import make_key_pair
from lab.commands import require, run
from lab.fetch import Request
from lab.http_pull import pull_over_http
from lab.origin import CREDENTIALS
from lab.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.agent import Agent
    from lab.images import Image
    from lab.network import Host
    from lab.toml_text import Table

pytestmark = pytest.mark.timeout(300)

LENT = {**OPEN, "cache": {"insecure": True}}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with new_stage() as stage:
        yield stage


async def status(cache: Agent, registry: str, path: str = "demo/app/manifests/v1") -> int:
    return (await cache.ask_registry(Request(f"/v2/{path}?ns={registry}"))).status


# Logins as Docker keeps them

# Gives one login and says of all other servers that it has none, in the words of docker-credential-helpers.
_HELPER = """#!/bin/sh
read server
echo "$1 $server" >> {log}
if [ "$server" = {server} ]; then
  echo '{{"ServerURL": "{server}", "Username": "{username}", "Secret": "{password}"}}'
else
  echo "credentials not found in native keychain"; exit 1
fi
"""


def docker_config(folder: Path, document: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return str(path)


def write_helper(folder: Path, *, server: str) -> dict[str, str]:
    """A credential helper, and the PATH that it is found in."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "docker-credential-lab"
    login = {"username": CREDENTIALS.username, "password": CREDENTIALS.password}
    program.write_text(_HELPER.format(log=folder / "helper.log", server=server, **login))
    program.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


async def test_a_login_of_docker_login(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    auth = base64.b64encode(f"{CREDENTIALS.username}:{CREDENTIALS.password}".encode()).decode()
    config = docker_config(stage.folder, {"auths": {"basic.lab": {"auth": auth}}})
    async with stage.front(5001, is_private=True) as front:
        registries: dict[str, Table] = {"basic.lab": {"url": front.url}, "other.lab": {"url": front.url}}
        async with stage.cache(registries, upstreams={"docker_config": config}, **LENT) as cache:
            assert await status(cache, "other.lab") == 403
            await pull_at_once(cache, "basic.lab/demo/app:v1", 5)
        assert await gave_once(front, image)


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore"])
async def test_a_login_of_a_credential_helper(stage: Stage, image: Image, kind: str) -> None:
    await stage.origin.push(image, "demo/app")
    environment = write_helper(stage.folder, server="basic.lab")
    helpers: object = "lab" if kind == "credsStore" else {"basic.lab": "lab"}
    config = docker_config(stage.folder, {kind: helpers})
    async with stage.front(5001, is_private=True) as front:
        registries: dict[str, Table] = {"basic.lab": {"url": front.url}, "open.lab": {"url": stage.origin.url}}
        options = {"upstreams": {"docker_config": config}, **LENT}
        async with stage.cache(registries, environment, **options) as cache:
            await pull_at_once(cache, "basic.lab/demo/app:v1", 5)
            # Where the helper has nothing, the registry is asked as by anyone.
            assert await status(cache, "open.lab") == 200
        asked = Counter((stage.folder / "helper.log").read_text().splitlines())
    assert set(asked) == {"get basic.lab"} | ({"get open.lab"} if kind == "credsStore" else set())
    assert await gave_once(front, image)


async def test_a_helper_that_is_not_there_is_said_and_nothing_is_given(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    config = docker_config(stage.folder, {"credHelpers": {"basic.lab": "nowhere"}})
    async with stage.front(5001, is_private=True) as front:
        options = {"upstreams": {"docker_config": config}, **LENT}
        async with stage.cache({"basic.lab": {"url": front.url}}, **options) as cache:
            answer = await cache.ask_registry(Request("/v2/demo/app/manifests/v1?ns=basic.lab"))
    assert answer.status == 403
    assert b"docker-credential-nowhere does not work" in answer.body


# Proxies

_PROXY = """
Port 8888
Listen {host}
Timeout 60
MaxClients 50
LogFile "{folder}/proxy.log"
LogLevel Connect
BasicAuth lab proxy-password
ConnectPort 5003
"""


@asynccontextmanager
async def proxy(stage: Stage, host: Host) -> AsyncIterator[Path]:
    """A proxy that asks for a password; the file that says what it was asked for."""
    folder = stage.folder / "proxy"
    folder.mkdir()
    config = folder / "tinyproxy.conf"
    config.write_text(_PROXY.format(host=host.ipv4, folder=folder))
    program = [require("tinyproxy", package="tinyproxy-bin"), "-d", "-c", str(config)]
    async with running(program, log=folder / "out.log", namespace=host.namespace) as process:

        async def is_listening() -> bool:
            return ":8888" in await run(*host.namespace.command("ss", "-ltn"))

        await process.wait_ready(is_listening)
        yield folder / "proxy.log"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_upstream_behind_a_proxy(stage: Stage, image: Image, scheme: str) -> None:
    """No way out but the proxy; what NO_PROXY names is reached without it."""
    await stage.origin.push(image, "demo/app")
    host, near = stage.upstream_host, "10.77.9.9"
    await run("ip", "-n", host.namespace.name, "address", "add", f"{near}/16", "dev", "eth0")
    await run("ip", "-n", stage.cache_host.namespace.name, "route", "add", "blackhole", f"{host.ipv4}/32")
    pair = await make_key_pair(stage.folder, address=host.ipv4)
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}} if scheme == "https" else {}
    gate = await stage.network.add_host("proxy")
    variables = ("HTTPS_PROXY",) if scheme == "https" else ("HTTP_PROXY",)
    environment = dict.fromkeys(variables, f"http://lab:proxy-password@{gate.ipv4}:8888")
    registries: dict[str, Table] = {
        "far.lab": {"url": f"{scheme}://{host.ipv4}:5003", "ca": str(pair.certificate)},
        "near.lab": {"url": f"http://{near}:5004"},
    }
    async with (
        proxy(stage, gate) as log,
        stage.front(5003, extra=tls) as front,
        stage.front(5004, extra={"http": {"addr": "0.0.0.0:5004"}}) as neighbour,
    ):
        async with stage.cache(registries, environment | {"NO_PROXY": "10.77.9.0/24"}) as cache:
            assert await status(cache, "near.lab") == 200
            await pull_at_once(cache, "far.lab/demo/app:v1", 5)
        assert {access.client for access in front.requests()} == {gate.ipv4}
        assert {access.client for access in neighbour.requests()} == {stage.cache_host.ipv4}
        said = log.read_text()
    assert (f"CONNECT {host.ipv4}:5003" if scheme == "https" else f"GET http://{host.ipv4}:5003/v2/") in said
    assert near not in said


async def test_a_proxy_that_refuses_is_said(stage: Stage) -> None:
    gate = await stage.network.add_host("proxy")
    environment = {"HTTPS_PROXY": f"http://lab:wrong@{gate.ipv4}:8888"}
    registries: dict[str, Table] = {"far.lab": {"url": f"https://{stage.upstream_host.ipv4}:5003"}}
    async with proxy(stage, gate), stage.cache(registries, environment) as cache:
        answer = await cache.ask_registry(Request("/v2/demo/app/manifests/v1?ns=far.lab"))
    assert answer.status == 503
    assert b"the proxy answers 40" in answer.body


# Mirrors, and a certificate of our own

_FRONT = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen {host}:5006 ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_client_certificate {certificate}; ssl_verify_client on;
    location / {{
      proxy_pass http://{host}:5000;
      add_header RateLimit-Limit "100;w=21600"; add_header RateLimit-Remaining "73;w=21600";
    }}
  }}
}}
"""


async def test_a_certificate_of_our_own_and_a_limit_that_is_shown(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    host, folder = stage.upstream_host, stage.folder / "nginx"
    folder.mkdir()
    folder.chmod(0o777)
    pair = await make_key_pair(stage.folder, address=host.ipv4)
    files = {"certificate": pair.certificate, "key": pair.key}
    (folder / "nginx.conf").write_text(_FRONT.format(folder=folder, host=host.ipv4, **files))
    nginx = [require("nginx", package="nginx"), "-c", str(folder / "nginx.conf")]
    url = f"https://{host.ipv4}:5006"
    own = {"client_cert": str(pair.certificate), "client_key": str(pair.key)}
    registries: dict[str, Table] = {
        "known.lab": {"url": url, "ca": str(pair.certificate), **own},
        "unknown.lab": {"url": url, "ca": str(pair.certificate)},
        "untrusting.lab": {"url": url, **own},
    }
    async with (
        running(nginx, log=folder / "out.log", namespace=host.namespace),
        stage.cache(registries, **LENT) as cache,
    ):
        await pull_over_http(cache, "known.lab/demo/app:v1")
        metrics = await cache.metrics()
        assert metrics.total("registryd_upstream_limit_remaining", registry="known.lab") == 73
        assert metrics.total("registryd_upstream_limit", registry="known.lab") == 100
        assert await status(cache, "unknown.lab") != 200
        answer = await cache.ask_registry(Request("/v2/demo/app/manifests/v1?ns=untrusting.lab"))
        assert answer.status == 503
        assert b"certificate is not trusted" in answer.body


async def test_mirrors_are_asked_first_and_the_registry_when_they_fail(stage: Stage, image: Image) -> None:
    await stage.origin.push(image, "demo/app")
    async with stage.front(5001) as mirror:
        dead = f"http://{stage.upstream_host.ipv4}:5999"
        registries: dict[str, Table] = {"it.lab": {"url": stage.origin.url, "mirrors": [dead, mirror.url]}}
        stage.origin.forget_requests()
        async with stage.cache(registries) as cache:
            await pull_over_http(cache, "it.lab/demo/app:v1")
            assert await gave_once(mirror, image)
            assert not stage.origin.requests()
            await mirror.stop()
            await stage.origin.push(image, "demo/later")
            await pull_over_http(cache, "it.lab/demo/later:v1")
            assert stage.origin.requests()
