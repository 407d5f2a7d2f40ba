"""Where anyone may have everything, a digest opens nothing under other names: agents in mode `open`, and a cache."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.entitlement_stage import PUBLIC, TOKENS, entitlement_stage, tokens_url
from e2e.test_entitlement_matrix import (
    ANYONES_APP,
    HIDDEN,
    OTHER,
    OWN,
    PRIVATE,
    Given,
    fill,
    names_for,
    try_excluded,
)
from lab.agent import PATIENT
from lab.cache import running_cache
from lab.fetch import Request
from lab.origin import CREDENTIALS
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from e2e.entitlement_stage import Stage
    from lab.agent import Agent
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

    Ask = Callable[[str, str, str], Awaitable[int]]
    """A method, a path below /v2/ and a registry: the status of the answer."""

pytestmark = pytest.mark.timeout(600)

SETTINGS: Table = merged(PATIENT, {"authorization": {"mode": "open", "exclude": [f"{TOKENS}:443/{HIDDEN}"]}})


def documents_of(image: Image) -> tuple[str, ...]:
    return image.root.digest, image.local.blob.digest


def blobs_of(image: Image) -> list[str]:
    return [image.local.config.digest, *(layer.digest for layer in image.local.layers)]


async def expect_own(ask: Ask, image: Image, given: Given) -> None:
    """Everyone is given it under its own name, without credentials: that is what the mode means."""
    paths = ["manifests/v1", *(f"manifests/{digest}" for digest in documents_of(image))]
    for path in (*paths, *(f"blobs/{digest}" for digest in blobs_of(image))):
        for method in ("GET", "HEAD"):
            status = await ask(method, f"{PRIVATE}/{path}", TOKENS)
            given.expect(wanted=True, got=status == 200, what=f"own name: {method} {path[:32]}")


async def expect_others(ask: Ask, paths: Iterator[tuple[str, str]], given: Given) -> None:
    for registry, path in paths:
        for method in ("HEAD", "GET"):
            status = await ask(method, path, registry)
            given.expect(wanted=False, got=status == 200, what=f"{method} {registry}/{path[:60]}")


def other_names(image: Image, *, has_siblings_blobs: bool) -> Iterator[tuple[str, str]]:
    """Registries and paths of the private image's content under every other name.

    `has_siblings_blobs`: blobs are asked for in other repositories of its registry as well.
    """
    for registry, repository in names_for(PRIVATE):
        is_of_registry = registry in OWN
        if is_of_registry and repository == PRIVATE:
            continue
        yield from ((registry, f"{repository}/manifests/{digest}") for digest in documents_of(image))
        if has_siblings_blobs or not is_of_registry:
            yield from ((registry, f"{repository}/blobs/{digest}") for digest in blobs_of(image))


async def test_a_digest_opens_nothing_under_other_names(newest: Release) -> None:
    given = Given([])
    async with entitlement_stage(newest, [SETTINGS, SETTINGS]) as stage:
        owner, stranger = stage.nodes
        await fill(stage, owner)
        image = stage.images[PRIVATE]

        async def ask_agent(method: str, path: str, registry: str) -> int:
            return await stage.status(stranger, method, path, registry)

        await expect_own(ask_agent, image, given)
        await expect_others(ask_agent, other_names(image, has_siblings_blobs=False), given)
        await try_excluded(stage, stranger, given)
        for reference in (f"{PUBLIC}/{OTHER}@{image.root.digest}", f"{TOKENS}/{ANYONES_APP}@{image.root.digest}"):
            given.expect(wanted=False, got=await stage.pulls(stranger, reference), what=f"pulled as {reference}")

        async with cache(stage) as door:

            async def ask_cache(method: str, path: str, registry: str) -> int:
                return (await door.ask_registry(Request(f"/v2/{path}?ns={registry}", method))).status

            await expect_own(ask_cache, image, given)
            reachable = (one for one in other_names(image, has_siblings_blobs=True) if one[0] in {*OWN, PUBLIC})
            await expect_others(ask_cache, reachable, given)
            hidden = stage.images[HIDDEN]
            excluded = [f"manifests/{hidden.root.digest}", *(f"blobs/{digest}" for digest in blobs_of(hidden))]
            await expect_others(ask_cache, ((TOKENS, f"{HIDDEN}/{path}") for path in excluded), given)
    assert not given.faults


@asynccontextmanager
async def cache(stage: Stage) -> AsyncIterator[Agent]:
    """One whose operator named two registries, with a login for one of them."""
    host = await stage.cluster.network.add_host("cache")
    password = stage.folder / "password"
    await asyncio.to_thread(password.write_text, CREDENTIALS.password)
    password.chmod(0o600)
    login: Table = {"username": CREDENTIALS.username, "password_file": str(password)}
    registries: Table = {
        TOKENS: {"url": tokens_url(stage.cluster.origin_host), **login},
        PUBLIC: {"url": stage.cluster.origin.url},
    }
    changes: Table = {
        "cache": {"insecure": True},
        "authorization": SETTINGS["authorization"],
        "upstreams": {"registries": registries},
    }
    address = f"{host.ipv4}:3172"
    async with running_cache(stage.folder / "cache", listen=address, changes=changes, namespace=host.namespace) as door:
        yield door
