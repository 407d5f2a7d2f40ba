"""Only members, only those entitled: private images, public ones in an outage, and those who are not let in."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.agent import AGENT, PATIENT, REGISTRY, Agent
from lab.authority import make_key_pair
from lab.cluster import ORIGIN, Cluster, NodePlan, running_cluster
from lab.containerd_config import Mirror, Options
from lab.errors import PullError
from lab.fetch import Request, fetch
from lab.images import ImageRecipe, make_image
from lab.origin import CREDENTIALS, running_origin
from lab.process import running
from lab.token_server import registry_settings
from lab.toml_text import Table, merged
from registryd.identity.certificate_files import CertificateFiles
from registryd.identity.ticket import TICKET_HEADER
from tests.identity.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.cluster import Node
    from lab.images import Image
    from lab.network import Host
    from lab.origin import Origin
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

SECRET = "registryd_secret_nothing-but-a-secret-of-the-end-to-end-tests-0123456789"
OTHER_SECRET = "registryd_secret_quite-another-secret-of-the-end-to-end-tests-9876543210"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def as_it_should_be(secret: Path) -> Table:
    """mTLS between members, and only public images are resolved."""
    return {"peers": {"secret_file": str(secret), "insecure": False}, "authorization": {"mode": "public"}}


def members_with(secret: Path, **more: Table) -> Table:
    """Settings of a cluster as it should be run, on any machine."""
    return merged(merged(PATIENT, as_it_should_be(secret)), more)


@asynccontextmanager
async def cluster_of(
    release: Release, settings: Table, *, nodes: int = 2, is_private: bool = False
) -> AsyncIterator[Cluster]:
    async with running_cluster([NodePlan(release, agent=settings)] * nodes, is_private=is_private) as cluster:
        yield cluster


async def from_peers(node: Node) -> float:
    assert node.agent
    return (await node.agent.metrics()).total("registryd_sent_bytes_total", source="peer")


def blobs_given_to(cluster: Cluster, node: Node) -> list[str]:
    """What the origin gave to a node; a refusal is not a gift."""
    return [a.reference for a in cluster.origin.requests() if a.is_blob_transfer and a.client == node.host.ipv4]


async def wait_known_as_public(node: Node, registry: str, image: Image) -> None:
    """Return when its agent has the registry's word for it, for which it asks beside the pull."""
    assert node.agent
    for digest in (image.root.digest, image.local.blob.digest):
        by_digest = Request(f"/v2/demo/app/manifests/{digest}?ns={registry}", "HEAD", timeout=30)
        async with asyncio.timeout(30):
            while (await node.agent.ask_registry(by_digest)).status != 200:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.1)


# Who may have an image


@pytest.mark.every_series
@pytest.mark.parametrize("transport", ["tls", "plain"])
async def test_a_private_image_is_for_those_with_credentials_and_then_comes_from_peers(
    release: Release, image: Image, secret_file: Path, transport: str
) -> None:
    settings = members_with(secret_file)
    settings = {**settings, "peers": {**settings["peers"], "transport": transport}}  # type: ignore[dict-item]
    async with cluster_of(release, settings, is_private=True) as cluster:
        first, second = cluster.nodes
        by_tag = await cluster.push(image, "secret/app")
        by_digest = f"{ORIGIN}/secret/app@{image.root.digest}"
        await first.pull(by_tag, credentials=CREDENTIALS)

        for reference in (by_tag, by_digest):
            with pytest.raises(PullError) as refusal:
                await second.pull(reference)
            print(f"{release}, without credentials: {refusal.value}")
        assert not any(map(second.containerd.has_blob, image.digests[2:]))
        # Even what is on this very node is not resolved for a pod that lacks the credentials.
        with pytest.raises(PullError):
            await first.pull(by_digest)

        await second.pull(by_tag, credentials=CREDENTIALS)
        assert blobs_given_to(cluster, second) == []
        assert await from_peers(second) >= sum(layer.size for layer in image.local.layers)


async def test_an_imported_image_of_a_private_registry_is_not_given_without_credentials(
    release: Release, image: Image, secret_file: Path
) -> None:
    async with cluster_of(release, members_with(secret_file), is_private=True) as cluster:
        first, second = cluster.nodes
        by_tag = await cluster.push(image, "secret/app")
        await first.containerd.import_archive(image.archive(), f"{ORIGIN}/imported/app")
        await first.containerd.wait_image(f"{ORIGIN}/imported/app:v1")
        for reference in (by_tag, f"{ORIGIN}/imported/app:v1"):
            with pytest.raises(PullError):
                await second.pull(reference)


async def test_a_public_image_is_pulled_while_its_origin_is_down(
    release: Release, image: Image, secret_file: Path
) -> None:
    async with cluster_of(release, members_with(secret_file), nodes=3) as cluster:
        first, second, third = cluster.nodes
        by_tag = await cluster.push(image, "demo/app")
        await first.pull(by_tag)
        await wait_known_as_public(first, ORIGIN, image)
        await cluster.origin.stop()
        await second.pull(f"{ORIGIN}/demo/app@{image.root.digest}")
        await third.pull(by_tag)
        for node in (second, third):
            assert await from_peers(node) >= sum(layer.size for layer in image.local.layers)


@asynccontextmanager
async def behind_tokens(cluster: Cluster, *, public: str) -> AsyncIterator[Origin]:
    """The origin's content once more, at a registry that wants tokens; anyone gets one for `public`."""
    host = cluster.origin_host
    pair = await make_key_pair(cluster.folder, address=host.ipv4)
    tokens = f"{host.ipv4}:5009"
    login = f"{CREDENTIALS.username}:{CREDENTIALS.password}"
    server = [
        sys.executable,
        "-m",
        "lab.token_server",
        tokens,
        str(pair.certificate),
        str(pair.key),
        login,
        public,
    ]
    settings = registry_settings(f"http://{tokens}/token", pair)
    async with (
        running(server, log=cluster.folder / "tokens.log", namespace=host.namespace) as token_server,
        running_origin(
            cluster.folder / "tokens",
            address=f"{host.ipv4}:5002",
            namespace=host.namespace,
            storage=cluster.folder / "origin",
            extra=settings,
        ) as registry,
    ):
        await token_server.wait_ready(partial(answers, f"http://{tokens}/token", host))
        for node in cluster.nodes:
            mirror = Mirror(f"http://{REGISTRY}", dial_timeout="1s")
            node.containerd.write_hosts("tokens.lab", mirror, server=registry.url)
        yield registry


async def answers(url: str, host: Host) -> bool:
    try:
        return (await fetch(url, namespace=host.namespace)).status == 200
    except OSError:
        return False


async def test_tokens_decide_like_passwords(release: Release, image: Image, secret_file: Path) -> None:
    async with cluster_of(release, members_with(secret_file), nodes=3) as cluster:
        first, second, third = cluster.nodes
        for repository in ("secret/app", "demo/app"):
            await cluster.push(image, repository)
        async with behind_tokens(cluster, public="demo/app") as registry:
            await first.pull("tokens.lab/secret/app:v1", credentials=CREDENTIALS)
            for reference in ("tokens.lab/secret/app:v1", f"tokens.lab/secret/app@{image.root.digest}"):
                with pytest.raises(PullError):
                    await second.pull(reference)
            await second.pull("tokens.lab/secret/app:v1", credentials=CREDENTIALS)
            given = [a for a in registry.requests() if a.is_blob_transfer and a.client == second.host.ipv4]
            assert given == []

            await first.pull("tokens.lab/demo/app:v1")
            await wait_known_as_public(first, "tokens.lab", image)
            await registry.stop()
            await third.pull(f"tokens.lab/demo/app@{image.root.digest}")
            assert await from_peers(third) >= sum(layer.size for layer in image.local.layers)


async def test_a_layer_that_a_public_image_shares_opens_no_door_to_the_private_one(
    release: Release, image: Image, secret_file: Path
) -> None:
    """All content of the private image is on both nodes, under a public name."""
    async with cluster_of(release, members_with(secret_file)) as cluster:
        first, second = cluster.nodes
        for repository in ("secret/app", "demo/app"):
            await cluster.push(image, repository)
        async with behind_tokens(cluster, public="demo/app") as registry:
            await first.pull("tokens.lab/secret/app:v1", credentials=CREDENTIALS)
            await second.pull("tokens.lab/demo/app:v1")
            assert all(map(second.containerd.has_blob, image.digests))
            given = [a for a in registry.requests() if a.is_blob_transfer and a.client == second.host.ipv4]
            assert given == [], "the public image came from the node that has the private one"
            for node in (first, second):
                for reference in ("tokens.lab/secret/app:v1", f"tokens.lab/secret/app@{image.root.digest}"):
                    with pytest.raises(PullError):
                        await node.pull(reference)
            await second.pull("tokens.lab/secret/app:v1", credentials=CREDENTIALS)


# Who is let in


async def test_peers_ports_answer_members_only(release: Release, image: Image, secret_file: Path, folder: Path) -> None:
    async with cluster_of(release, members_with(secret_file)) as cluster:
        first, _ = cluster.nodes
        await first.pull(await cluster.push(image, "demo/app"))
        outsider = cluster.origin_host.namespace
        layer = image.local.layers[0].digest
        with pytest.raises(OSError, match=r"."):
            await fetch(f"http://{first.host.ipv4}:3174/v1/blobs/{layer}", namespace=outsider)
        for port in (3173, 3174):
            said = await _handshake(cluster, f"{first.host.ipv4}:{port}")
            # OpenSSL tells why, gRPC's BoringSSL just hangs up; neither says a word of HTTP.
            assert "certificate required" in said or "unexpected eof" in said


async def test_plain_bytes_are_for_those_with_a_ticket(release: Release, image: Image, secret_file: Path) -> None:
    settings = members_with(secret_file)
    settings = {**settings, "peers": {**settings["peers"], "transport": "plain"}}  # type: ignore[dict-item]
    async with cluster_of(release, settings) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        url = f"http://{first.host.ipv4}:3174/v1/blobs/{image.local.layers[0].digest}"
        for request in (Request(url), Request(url, headers=((TICKET_HEADER, "A" * 32),))):
            assert (await fetch(request, namespace=cluster.origin_host.namespace)).status == 404
        cluster.origin.blobs_off()
        await second.pull(reference)
        assert await from_peers(second) >= sum(layer.size for layer in image.local.layers)


async def _handshake(cluster: Cluster, address: str) -> str:
    """What a client without a certificate is told."""
    command = cluster.origin_host.namespace.command("openssl", "s_client", "-connect", address, "-tls1_3", "-ign_eof")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


async def test_another_clusters_secret_gets_nothing_and_its_pull_goes_on_at_the_origin(
    release: Release, image: Image, secret_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(f"{OTHER_SECRET}\n")
    plans = [NodePlan(release, agent=members_with(secret)) for secret in (secret_file, other)]
    async with running_cluster(plans, are_acquainted=False) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        await second.pull(reference)
        assert await from_peers(second) == 0
        assert blobs_given_to(cluster, second) != []


async def test_the_nodes_door_opens_for_its_token_only(
    release: Release, image: Image, secret_file: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("registryd_token_of-the-end-to-end-tests-0123456789-abcdefghij\n")
    token.chmod(0o600)
    settings = members_with(secret_file, registry={"token_file": str(token)})
    async with cluster_of(release, settings) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        header = {"Registryd-Token": token.read_text().strip()}
        for node in cluster.nodes:
            mirror = Mirror(f"http://{REGISTRY}", dial_timeout="1s", header=header)
            node.containerd.write_hosts(ORIGIN, mirror, server=cluster.origin.url)
        await first.pull(reference)
        cluster.origin.blobs_off()
        await second.pull(reference)
        assert first.agent
        blob = f"/v2/demo/app/blobs/{image.local.layers[0].digest}?ns={ORIGIN}"
        assert (await first.agent.ask_registry(Request(blob))).status == 404
        assert (await first.agent.ask_registry(Request(blob, headers=tuple(header.items())))).status == 200


async def test_the_secret_is_changed_under_load_without_a_failed_pull(
    release: Release, image: Image, secret_file: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"secret{number}" for number in range(3)]
    for file in files:
        file.write_text(f"{SECRET}\n")
    plans = [NodePlan(release, agent=members_with(file)) for file in files]
    async with running_cluster(plans) as cluster:
        reference = await cluster.push(image, "demo/app")
        afterwards = await cluster.push(make_image(tmp_path / "afterwards", ImageRecipe(seed="afterwards")), "demo/new")
        first, *others = cluster.nodes
        for each in (reference, afterwards):
            await first.pull(each)
        async with asyncio.TaskGroup() as group:
            pulling = [_Pulling(node, reference, image) for node in others]
            tasks = [group.create_task(each.run()) for each in pulling]
            for content in (f"{OTHER_SECRET}\n{SECRET}\n", f"{OTHER_SECRET}\n"):
                for file in files:
                    replacement = file.with_suffix(".new")
                    replacement.write_text(content)
                    replacement.rename(file)
                    await asyncio.sleep(0.5)  # agents notice it
                    await asyncio.gather(*(each.wait_next() for each in pulling))
            for task in tasks:
                task.cancel()
        pulls = sum(each.finished for each in pulling)
        from_origin = sum(len(blobs_given_to(cluster, node)) for node in others)
        print(f"{release}: {pulls} pulls, {from_origin} blobs from the origin while three secrets changed twice")
        assert all([await from_peers(node) > 0 for node in others])
        # They share with the new secret alone, as they did with the old one.
        cluster.origin.blobs_off()
        for node in others:
            await node.pull(afterwards)


class _Pulling:
    """Pulls and removes an image over and over; each pull must succeed."""

    def __init__(self, node: Node, reference: str, image: Image) -> None:
        self.finished = 0
        self._node = node
        self._reference = reference
        self._image = image
        self._next = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self._node.pull(self._reference)
            await self._node.remove(self._reference, *self._image.digests)
            self.finished += 1
            self._next.set()

    async def wait_next(self) -> None:
        """Return when another pull has ended; one may have begun before."""
        self._next.clear()
        await self._next.wait()


async def test_members_by_certificates_of_their_own_share_before_and_after_a_renewal(
    release: Release, image: Image, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt")]
    issuer, files = Issuer(), CertificateFiles(paths[0], paths[1], paths[2], name="registryd.peer")
    issuer.write(files)
    given = dict(zip(("tls_cert", "tls_key", "tls_ca"), map(str, paths), strict=True))
    settings: Table = {"peers": {**given, "insecure": False}, "authorization": {"mode": "public"}}
    async with cluster_of(release, settings, nodes=3) as cluster:
        first, second, third = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        cluster.origin.blobs_off()
        await second.pull(reference)
        issuer.write(files)
        for node in cluster.nodes:
            await _wait_certificates(node, 2)
        await third.pull(reference)
        for node in (second, third):
            assert await from_peers(node) >= sum(layer.size for layer in image.local.layers)


async def _wait_certificates(node: Node, count: int) -> None:
    """Return when an agent has begun to use its count-th certificate."""
    assert node.agent
    async with asyncio.timeout(60):
        while node.agent.process.log.read_text().count("this node has a new certificate") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_an_agent_needs_no_root(release: Release, image: Image, secret_file: Path, folder: Path) -> None:
    """An unprivileged user, the socket's group, and the one capability that reads containerd's files."""
    options = Options(socket_group=NOBODY)
    async with running_cluster(
        [
            NodePlan(release, options, agent=members_with(secret_file)),
            NodePlan(release, agent=members_with(secret_file)),
        ]
    ) as cluster:
        first, second = cluster.nodes
        assert first.agent
        secret_file.chmod(0o644)
        await first.agent.stop()
        unprivileged = Agent(first.agent.settings, folder, first.host.namespace, program=(*as_nobody(), *AGENT))
        try:
            await unprivileged.start()
            status = Path(f"/proc/{unprivileged.process.pid}/status").read_text()
            assert f"Uid:\t{NOBODY}\t{NOBODY}" in status
            reference = await cluster.push(image, "demo/app")
            await first.pull(reference)
            await cluster.wait_acquainted()
            cluster.origin.blobs_off()
            await second.pull(reference)
            assert await from_peers(second) >= sum(layer.size for layer in image.local.layers)
            assert "read from the files" in unprivileged.process.log.read_text()
        finally:
            await unprivileged.stop()


NOBODY = 65534


def as_nobody() -> tuple[str, ...]:
    capability = "+dac_read_search"
    user = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    return ("setpriv", *user, "--no-new-privs", "--inh-caps", capability, "--ambient-caps", capability)


async def test_intruders_do_not_hold_up_a_pull(release: Release, image: Image, secret_file: Path) -> None:
    """Strangers connect, stall in handshakes, send garbage and trickle heads; a pull between members runs beside it."""
    async with cluster_of(release, as_it_should_be(secret_file), nodes=3) as cluster:
        first, second, third = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        cluster.origin.blobs_off()
        intruders = [
            Intruder(cluster.origin_host, first.host.ipv4, port, kind) for port in (3173, 3174) for kind in range(4)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(intruder.bother()) for intruder in intruders]
            await asyncio.gather(*(intruder.has_begun.wait() for intruder in intruders))
            beside = await _seconds_of_pull(second, reference)
            for task in tasks:
                task.cancel()
        alone = await _seconds_of_pull(third, reference)
        print(
            f"{release}: beside {len(tasks)} kinds of intruders a pull took {beside:.2f} s, without them {alone:.2f} s"
        )
        assert await from_peers(second) >= sum(layer.size for layer in image.local.layers)
        assert not [intruder for intruder in intruders if b"200 OK" in intruder.heard]


async def _seconds_of_pull(node: Node, reference: str) -> float:
    began = time.monotonic()
    await node.pull(reference)
    return time.monotonic() - began


class Intruder:
    """Comes again and again to one port with one kind of nonsense, ten connections at a time."""

    NONSENSE = (
        b"",
        b"GET /v1/blobs/x HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
    )

    def __init__(self, host: Host, target: str, port: int, kind: int) -> None:
        self._host, self._target, self._port = host, target, port
        self._words = self.NONSENSE[kind]
        self.has_begun = asyncio.Event()
        self.heard = b""

    async def bother(self) -> None:
        while True:
            await asyncio.gather(*(self._once() for _ in range(10)))
            self.has_begun.set()

    async def _once(self) -> None:
        opened = self._host.namespace.open_socket()
        opened.settimeout(0)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(0.5):
                await loop.sock_connect(opened, (self._target, self._port))
                await loop.sock_sendall(opened, self._words)
                self.heard += await loop.sock_recv(opened, 1000)
        except (OSError, TimeoutError):
            pass
        finally:
            opened.close()
