"""What a cache says of itself, and how it can be reached."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest

from registryd.agent.cache import open_cache
from registryd.caching.metrics import CacheMetrics
from registryd.caching.registries import Registries
from registryd.config.agent import SettingsError
from registryd.config.cache import UpstreamsSettings
from registryd.observability.prometheus import MetricsPage
from registryd.oci.reference import Registry
from registryd.upstream.errors import RateLimit, UpstreamDenied, UpstreamLimited, UpstreamMissing
from tests.fakes.certificates import server_tls
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.caching.world import World


async def test_a_cache_can_be_asked_over_https(world: World, tmp_path: Path) -> None:
    server_tls(tmp_path, "127.0.0.1")
    pem = tmp_path / "server.pem"
    world.cache = replace(world.cache, tls_cert=pem, tls_key=pem)
    world.upstream.add("demo/app", oci_image())
    trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    async with open_cache(world.settings) as cache, aiohttp.ClientSession() as session:
        url = f"https://{cache.address}/v2/demo/app/manifests/v1?ns=registry.example"
        async with session.get(url, ssl=trust) as response:
            assert (response.status, await response.read()) == (200, oci_image().manifest)


async def test_a_certificate_that_is_none_is_one_line(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    world.cache = replace(world.cache, tls_cert=tmp_path / "empty", tls_key=tmp_path / "empty")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_cache(world.settings):
            pass
    refusals, others = caught.value.split(SettingsError)
    assert others is None
    assert "cache.tls_cert: cannot be used" in repr(refusals)


async def test_a_cache_that_could_never_keep_anything_does_not_start(world: World) -> None:
    world.cache = replace(world.cache, keep_free=1 << 60)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_cache(world.settings):
            pass
    assert "cache.keep_free: 1048576TiB is more than half" in repr(caught.value.split(SettingsError)[0])


def test_what_upstreams_answer_and_allow_is_counted() -> None:
    page = MetricsPage()
    metrics = CacheMetrics(page)
    for failure in (None, UpstreamMissing("no"), UpstreamDenied("no"), UpstreamLimited("no")):
        metrics.answered(failure)
    metrics.limit(Registry("docker.io"), RateLimit(limit=100, remaining=7, window=21600))
    metrics.limit(Registry("ghcr.io"), RateLimit())
    text = page.render().decode()
    for answer in ("given", "missing", "denied", "limited"):
        assert f'registryd_upstream_requests_total{{answer="{answer}"}} 1.0' in text
    assert 'registryd_upstream_limit_remaining{registry="docker.io"} 7.0' in text
    assert "ghcr.io" not in text


def test_an_address_that_is_none_is_one_line(world: World) -> None:
    upstreams = UpstreamsSettings(registries={"ghcr.io": replace(world.table, url="ftp://x")})
    with pytest.raises(SettingsError, match=r"upstreams\.registries: ghcr\.io: not an endpoint"):
        Registries(upstreams, world.cache)
