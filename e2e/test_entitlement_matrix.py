"""Who is given what: every kind of repository, under every name, in every way of asking; with upstreams and without."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from e2e.entitlement_stage import PUBLIC, STRANGE, TOKENS, Stage, entitlement_stage
from lab.agent import PATIENT, REGISTRY
from lab.cluster import NodePlan, running_cluster
from lab.containerd_config import Mirror
from lab.errors import PullError
from lab.fetch import Request
from lab.origin import CREDENTIALS
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(600), pytest.mark.parametrize("release", ["1.7", "2.4"], indirect=True)]

HIDDEN = "hidden/app"  # anyone may pull it, and the operator excludes it
PRIVATE = "secret/app"
FORMER = "former/app"  # anyone could pull it, until lately
ANYONES_APP = "demo/app"
OTHER = "lib/base"
MEANING = (ANYONES_APP, OTHER, "x")  # their tags mean something, and anyone may know what
OWN = (TOKENS, f"{TOKENS}:443")


@dataclass(frozen=True)
class Given:
    """What was given that must not be, or the other way round; a line each."""

    faults: list[str]

    def expect(self, *, wanted: bool, got: object, what: str) -> None:
        print(f"{'as wanted' if bool(got) is wanted else 'NOT AS WANTED'}: {what}: {got}")
        if bool(got) is not wanted:
            self.faults.append(what)


def settings_of(secret: Path, *, mode: str, exclude: tuple[str, ...] = ()) -> Table:
    changes: Table = {
        "peers": {"secret_file": str(secret), "insecure": False},
        "authorization": {"mode": mode, "exclude": list(exclude)},
    }
    return merged(PATIENT, changes)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("registryd_secret_nothing-but-a-secret-of-the-end-to-end-tests-0123456789\n")
    path.chmod(0o600)
    return path


def names_for(stolen: str) -> Iterator[tuple[str, str]]:
    """Registries and repositories under which somebody without credentials may try it."""
    yield TOKENS, stolen
    yield f"{TOKENS}:443", stolen
    yield TOKENS, ANYONES_APP  # another repository of that registry, which anyone may pull from
    yield TOKENS, "nobody/at-all"
    yield PUBLIC, OTHER  # another registry's, of which anyone may have all
    yield PUBLIC, stolen
    yield STRANGE, "x"  # the attacker's own, who says yes to everything
    yield STRANGE, stolen
    yield "nowhere.lab", stolen  # a registry that nobody reaches


async def try_everything(stage: Stage, node: Node, stolen: str, given: Given) -> None:
    """As a pod without credentials, and as a process at the node's door."""
    image = stage.images[stolen]
    # What the attacker publishes himself anybody may have; under other names than his it still means nothing.
    published = {image.local.blob.digest} & stage.published
    documents = {image.root.digest, image.local.blob.digest}
    pieces = {image.local.config.digest, *(layer.digest for layer in image.local.layers)}
    for reference in references_to(image, stolen):
        is_given = await stage.pulls(node, reference)
        given.expect(wanted=False, got=is_given, what=f"{stolen} pulled as {reference}")
        if is_given:
            await node.remove(reference, *image.digests)
    for digest in (documents | pieces) - published:
        given.expect(wanted=False, got=node.containerd.has_blob(digest), what=f"{stolen}: {digest[:15]} on the node")
    for registry, repository in names_for(stolen):
        is_own, is_same = repository == stolen and registry in OWN, registry in OWN
        tags = () if repository in MEANING else ("v1", "steal")
        resolved = documents - published if registry == STRANGE else documents
        paths = [("HEAD", f"manifests/{reference}") for reference in (*tags, *resolved)]
        paths += [("GET", f"manifests/{tag}") for tag in tags]
        # Under its own name bytes are for the one who knows the digest: containerd asks for it by HEAD first. Blobs are
        # their registry's, which takes no manifest of what a repository lacks.
        kinds = () if is_own else ("manifests", "blobs")
        paths += [("GET", f"{kind}/{digest}") for kind in kinds for digest in documents - published]
        paths += [] if is_same else [(method, f"blobs/{digest}") for method in ("HEAD", "GET") for digest in pieces]
        for method, path in paths:
            status = await stage.status(node, method, f"{repository}/{path}", registry)
            given.expect(
                wanted=False, got=status == 200, what=f"{stolen}: {method} {registry}/{repository}/{path[:32]}"
            )


def references_to(image: Image, stolen: str) -> Iterator[str]:
    for registry, repository in names_for(stolen):
        yield f"{registry}/{repository}@{image.root.digest}"
    yield f"{TOKENS}/{stolen}:v1"
    yield f"{STRANGE}/x:steal"
    yield f"{STRANGE}/x:list"


async def fill(stage: Stage, owner: Node) -> None:
    """One node has everything, in the ways in which a node comes to have it; the attacker has found out the digests."""
    for repository in (PRIVATE, ANYONES_APP, FORMER, HIDDEN):
        await stage.make(TOKENS, repository)
        await owner.pull(f"{TOKENS}/{repository}:v1", credentials=CREDENTIALS if repository == PRIVATE else None)
    await stage.make(PUBLIC, OTHER)
    await owner.pull(f"{PUBLIC}/{OTHER}:v1")
    await stage.let_anyone_have(ANYONES_APP, HIDDEN)
    # What upstreams said is kept for a day; this node begins without.
    assert owner.agent
    await owner.agent.stop()
    await owner.agent.start()
    await stage.cluster.wait_acquainted()


@pytest.mark.parametrize("mode", ["public", "upstream"])
async def test_nobody_is_given_what_he_may_not_have(release: Release, secret_file: Path, mode: str) -> None:
    settings = settings_of(secret_file, mode=mode, exclude=(f"{TOKENS}:443/{HIDDEN}",))
    given = Given([])
    async with entitlement_stage(release, [settings, settings]) as stage:
        owner, stranger = stage.nodes
        await fill(stage, owner)
        for stolen in (PRIVATE, FORMER):
            await try_everything(stage, stranger, stolen, given)
        await try_excluded(stage, stranger, given)
        await try_tricks(stage, owner, stranger, given)
        await stage.close_registries()
        for stolen in (PRIVATE, FORMER, HIDDEN):
            stage.publish_stolen(stage.images[stolen])
            await try_everything(stage, stranger, stolen, given)
    assert not given.faults


async def try_excluded(stage: Stage, stranger: Node, given: Given) -> None:
    """Excluded is what agents have no part in, whatever it is called; its registry gives it to anyone."""
    image = stage.images[HIDDEN]
    for host in (TOKENS, f"{TOKENS}:443", TOKENS.upper()):
        for kind, digest in (("manifests", image.root.digest), ("blobs", image.local.layers[0].digest)):
            for method in ("HEAD", "GET"):
                status = await stage.status(stranger, method, f"{HIDDEN}/{kind}/{digest}", host)
                given.expect(wanted=False, got=status == 200, what=f"excluded: {method} {host}/{HIDDEN} {kind}")


async def try_tricks(stage: Stage, owner: Node, stranger: Node, given: Given) -> None:
    """The owner's node is made to pull the attacker's images, which name what is not his; then they are asked for."""
    image, own = stage.images[PRIVATE], stage.own_image()
    stage.publish_own(own)
    stage.publish_stolen(image)
    stage.publish_list_of(image)
    stage.publish_index_of(own, image.local.blob.digest, image.local.blob.size)
    stage.publish_skipping(own, image.local.layers[0].descriptor())
    for tag in ("own", "index", "skipping"):
        print(f"the owner's node pulls the attacker's {tag}: {await stage.pulls(owner, f'{STRANGE}/x:{tag}')}")
    await try_everything(stage, stranger, PRIVATE, given)


async def test_those_who_may_have_it_get_it_from_peers(release: Release, secret_file: Path) -> None:
    settings = settings_of(secret_file, mode="public")
    async with entitlement_stage(release, [settings] * 3) as stage:
        owner, second, third = stage.nodes
        await fill(stage, owner)
        # The same layers at another registry, of which anyone may have all: sharing stops at no registry's door.
        await stage.cluster.origin.push(stage.images[ANYONES_APP], "also/app")
        await stage.wait_public(owner, TOKENS, ANYONES_APP)
        await owner.pull(f"{PUBLIC}/{OTHER}:v1")
        stage.tokens.forget_requests()
        await second.pull(f"{TOKENS}/{PRIVATE}:v1", credentials=CREDENTIALS)
        await second.pull(f"{TOKENS}/{ANYONES_APP}@{stage.images[ANYONES_APP].root.digest}")
        assert stage.blobs_from(stage.tokens, second) == []
        stage.cluster.origin.forget_requests()
        await third.pull(f"{PUBLIC}/also/app:v1")
        assert stage.blobs_from(stage.cluster.origin, third) == []

        await stage.close_registries()
        await third.pull(f"{TOKENS}/{ANYONES_APP}:v1")
        assert not await stage.pulls(third, f"{TOKENS}/{PRIVATE}:v1")


async def test_a_login_of_one_nodes_hosts_toml_opens_nothing_for_other_nodes(
    release: Release, secret_file: Path, image: Image
) -> None:
    """To that node its registry gives the image in any case; others are not told that anyone may have it."""
    settings = settings_of(secret_file, mode="public")
    async with running_cluster([NodePlan(release, agent=settings)] * 2, is_private=True) as cluster:
        owner, stranger = cluster.nodes
        by_tag = await cluster.push(image, PRIVATE)
        login = base64.b64encode(f"{CREDENTIALS.username}:{CREDENTIALS.password}".encode()).decode()
        mirrors = [Mirror(f"http://{REGISTRY}", dial_timeout="1s")]
        mirrors += [Mirror(cluster.origin.url, header={"Authorization": f"Basic {login}"})]
        owner.containerd.write_hosts(PUBLIC, *mirrors, server=cluster.origin.url)
        await owner.pull(by_tag)
        manifest = f"/v2/{PRIVATE}/manifests/{image.root.digest}?ns={PUBLIC}"
        async with asyncio.timeout(60):
            while not await resolves(owner, manifest):  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.1)
        await refuses(stranger, by_tag, manifest, image)
        await cluster.origin.stop()
        await refuses(stranger, by_tag, manifest, image)


async def resolves(node: Node, manifest: str) -> bool:
    assert node.agent
    return (await node.agent.ask_registry(Request(manifest, "HEAD"))).status == 200


async def refuses(node: Node, by_tag: str, manifest: str, image: Image) -> None:
    for reference in (by_tag, f"{PUBLIC}/{PRIVATE}@{image.root.digest}"):
        with pytest.raises(PullError):
            await node.pull(reference)
    assert not await resolves(node, manifest)
    assert not any(map(node.containerd.has_blob, image.digests))


async def test_no_way_of_writing_a_name_opens_what_the_name_does_not(release: Release, secret_file: Path) -> None:
    settings = settings_of(secret_file, mode="public", exclude=(f"{TOKENS}/{HIDDEN}",))
    given = Given([])
    async with entitlement_stage(release, [settings, settings]) as stage:
        owner, stranger = stage.nodes
        await fill(stage, owner)
        assert stranger.agent
        for stolen, repository in ((PRIVATE, PRIVATE), (PRIVATE, ANYONES_APP), (HIDDEN, HIDDEN)):
            image = stage.images[stolen]
            for path in writings(repository, image, is_excluded=stolen == HIDDEN):
                for method in ("HEAD", "GET") if "/blobs/" in path or stolen == HIDDEN else ("HEAD",):
                    status = (await stranger.agent.ask_registry(Request(path, method))).status
                    given.expect(wanted=False, got=status == 200, what=f"{stolen}: {method} {path}")
    assert not given.faults


def writings(repository: str, image: Image, *, is_excluded: bool) -> Iterator[str]:
    """Of one question: other names of its registry, and of other registries."""
    hosts = (TOKENS, TOKENS.upper(), f"{TOKENS}.", f"{TOKENS}:443", f"{TOKENS}:0443", f"{TOKENS}%3a443", f"%20{TOKENS}")
    kinds = [("manifests", image.root.digest), ("manifests", image.local.blob.digest)]
    for host in hosts:
        for kind, digest in kinds + ([("blobs", image.local.layers[0].digest)] if is_excluded else []):
            yield f"/v2/{repository}/{kind}/{digest}?ns={host}"
    for kind, digest in (*kinds, ("blobs", image.local.layers[0].digest)):
        yield f"/v2/{PUBLIC}/{repository}/{kind}/{digest}"
        yield f"/v2/{repository}/{kind}/{digest}"
        yield f"/v2/{repository}/{kind}/{digest}?ns={PUBLIC}"
        yield f"/v2/{repository}/{kind}/{digest}?ns={PUBLIC}&ns={TOKENS}"
        yield f"/v2/../{repository}/{kind}/{digest}?ns={PUBLIC}"
        yield f"/v2/{repository}%2f..%2f{repository}/{kind}/{digest}?ns={PUBLIC}"
