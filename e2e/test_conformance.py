"""The OCI conformance suite's part for those that only serve pulls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lab.agent import agent_settings, running_agent
from lab.artifacts import in_toto_statement, make_artifact
from lab.cache import running_cache
from lab.commands import run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.programs import obtain_programs
from lab.push import Repository
from lab.registries import running_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from lab.images import Image
    from lab.layout import Blob
    from lab.namespaces import Namespace
    from lab.network import Host, Network
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REPOSITORY = "demo/app"
REGISTRY = "127.0.0.1:5000"
# For nothing is pushed or deleted; with it, the suite asks for what is named as read-only data.
_OFF = ("OCI_API_PUSH", "OCI_API_BLOBS_DELETE", "OCI_API_MANIFESTS_DELETE", "OCI_API_TAGS_DELETE")
PULLS_ONLY = dict.fromkeys(_OFF, "false")

LISTS_NOTHING = {"OCI_API_TAGS_LIST": "false", "OCI_API_REFERRER": "false"}
LISTS = ("empty/tag list", "empty/referrers", "read-only/tag-list", "read-only/referrers")
READ_ONLY = (
    "read-only/head/manifest-head-by-tag",
    "read-only/head/manifest-head-by-digest",
    "read-only/head/blob-head",
    "read-only/pull/manifest-by-tag",
    "read-only/pull/manifest-by-digest",
    "read-only/pull/blob-get",
)
_OUTCOME = re.compile(r" *OCI Conformance Test/(?P<test>.+): (?P<outcome>\w+)")


@pytest.fixture
async def host(network: Network, folder: Path, image: Image) -> AsyncIterator[Host]:
    """A host with a registry that has the image, and a statement about it."""
    host = await network.add_host("all")
    statement = make_artifact(folder / "statement", in_toto_statement(image.root))
    async with running_registry("olareg", folder / "o", port=5000, namespace=host.namespace):
        repository = Repository(f"http://{REGISTRY}/v2/{REPOSITORY}", host.namespace)
        await repository.push(image)
        await repository.push(statement)
        yield host


async def conformance(folder: Path, namespace: Namespace, image: Image, **settings: str) -> list[tuple[str, str]]:
    """How each test of the suite ended at 127.0.0.1:3172: Pass, FAIL, Disabled and such."""
    program = str(await obtain_programs("conformance") / "conformance")
    results = folder / "results"
    results.mkdir()
    environment = {
        "OCI_REGISTRY": "127.0.0.1:3172",
        "OCI_TLS": "disabled",
        "OCI_REPO1": f"origin.lab/{REPOSITORY}",
        "OCI_RESULTS_DIR": str(results),
        "OCI_RO_DATA_TAGS": image.tag,
        "OCI_RO_DATA_MANIFESTS": _digests(image.local.blob, image.root),
        "OCI_RO_DATA_BLOBS": _digests(image.local.config, *image.local.layers),
        **PULLS_ONLY,
        **settings,
    }
    # It has printed all when it ends with an error of its own: without pushes it lacks what its other reports are of.
    said = await run(*namespace.command("sh", "-c", '"$0" || true', program), environment=environment)
    print(said)
    return [(found["test"], found["outcome"]) for line in said.splitlines() if (found := _OUTCOME.fullmatch(line))]


def assert_passed(outcomes: Collection[tuple[str, str]], *, with_lists: bool) -> None:
    """All that is asked of those who serve pulls was asked, and nothing failed."""
    assert not [each for each in outcomes if each[1] not in {"Pass", "Disabled"}]
    passed = {test for test, outcome in outcomes if outcome == "Pass"}
    assert passed >= {"ping", "missing-manifest/by-tag", *READ_ONLY, *(LISTS if with_lists else ())}


def _digests(*blobs: Blob) -> str:
    return " ".join(blob.digest for blob in blobs)


async def test_the_cache(host: Host, folder: Path, image: Image) -> None:
    changes = {"upstreams": {"registries": {"origin.lab": {"url": f"http://{REGISTRY}"}}}}
    async with running_cache(folder / "c", listen="127.0.0.1:3172", changes=changes, namespace=host.namespace):
        outcomes = await conformance(folder, host.namespace, image, OCI_RO_DATA_REFERRERS=image.root.digest)
    assert_passed(outcomes, with_lists=True)


async def test_the_agent(host: Host, folder: Path, image: Image, newest: Release) -> None:
    """Which says of nothing that this is all there is: with a 404, clients ask the registry itself."""
    opening = running_containerd(newest, folder / "n", namespace=host.namespace)
    async with opening as containerd:
        containerd.write_hosts("origin.lab", Mirror(f"http://{REGISTRY}"))
        await containerd.images.pull(f"origin.lab/{REPOSITORY}:{image.tag}")
        settings = agent_settings(containerd, host=host.ipv4, peers=[], changes={})
        async with running_agent(settings, folder / "a", namespace=host.namespace):
            outcomes = await conformance(folder, host.namespace, image, **LISTS_NOTHING)
    assert_passed(outcomes, with_lists=False)
