"""The stage of the matrix of who is given what: three registries, one of them an attacker's, and nodes with agents."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from lab.agent import REGISTRY
from lab.authority import make_key_pair
from lab.cluster import NodePlan, running_cluster
from lab.containerd_config import Mirror
from lab.errors import PullError
from lab.fetch import Request, fetch
from lab.images import CONFIG, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.layout import INDEX, MANIFEST
from lab.origin import CREDENTIALS, running_origin
from lab.process import running
from lab.token_server import registry_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    from lab.authority import KeyPair
    from lab.cluster import Cluster, Node
    from lab.cri import Credentials
    from lab.images import Image
    from lab.network import Host
    from lab.origin import Origin
    from lab.process import Process
    from lab.toml_text import Table
    from lab.versions import Release

TOKENS = "tokens.lab"  # a registry with a token server: some repositories are for anyone, others are not
PUBLIC = "origin.lab"  # another registry, of which anyone may have all
STRANGE = "strange.lab"  # the attacker's own: it has manifests, and what they name it never had
ANYONES = ("demo/app", "former/app", "hidden/app")

# More than goes by gRPC, so that the way of real layers is taken; few, because there are many images.
_LAYERS = (LayerRecipe(1_100_000), LayerRecipe(60_000, compressible=True))


@dataclass
class Stage:
    """`images` by the repository that they were made for."""

    cluster: Cluster
    folder: Path
    tokens: Origin
    doors: AsyncExitStack
    pair: KeyPair
    images: dict[str, Image] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    token_server: Process | None = None

    @property
    def nodes(self) -> Sequence[Node]:
        return self.cluster.nodes

    @property
    def strange(self) -> Path:
        return self.folder / "strange"

    # What registries have

    async def make(self, registry: str, repository: str) -> Image:
        """An image of its own, pushed to that repository."""
        image = make_image(self.folder / repository.replace("/", "-"), ImageRecipe(layers=_LAYERS, seed=repository))
        await (self.cluster.origin if registry == PUBLIC else self.backdoor).push(image, repository)
        self.images[repository] = image
        return image

    @property
    def backdoor(self) -> Origin:
        """The token registry's content, for those who push to it."""
        return self._backdoor

    _backdoor: Origin = field(init=False)

    async def let_anyone_have(self, *repositories: str) -> None:
        """From now on, these and no others of the token registry; tokens that were given before end with it."""
        host = self.cluster.origin_host
        await self.tokens.stop()
        if self.token_server:
            await self.token_server.stop()
        login = f"{CREDENTIALS.username}:{CREDENTIALS.password}"
        server = ["-m", "lab.token_server", f"{host.ipv4}:5009", str(self.pair.certificate)]
        argv = [sys.executable, *server, str(self.pair.key), login, *repositories]
        opening = running(argv, log=self.folder / "tokens.log", namespace=host.namespace)
        self.token_server = await self.doors.enter_async_context(opening)
        await self.token_server.wait_ready(partial(answers, f"http://{host.ipv4}:5009/token", host))
        await self.tokens.start()

    async def close_registries(self) -> None:
        """No upstream answers any more, but the attacker's own."""
        assert self.token_server
        await asyncio.gather(self.token_server.stop(), self.tokens.stop(), self.cluster.origin.stop())

    # What the attacker has

    def publish(self, name: str, document: bytes, blobs: Iterable[bytes] = ()) -> str:
        """At the attacker's registry, in every repository; returns the digest."""
        (self.strange / name).write_bytes(document)
        for blob in blobs:
            (self.strange / "blobs" / "sha256" / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
        return f"sha256:{hashlib.sha256(document).hexdigest()}"

    def own_image(self) -> Image:
        """An image that is the attacker's, and harmless."""
        recipe = ImageRecipe(layers=(LayerRecipe(5_000),), architectures=(local_architecture(),), seed="strange")
        return make_image(self.folder / "own", recipe)

    def publish_own(self, image: Image) -> None:
        read = image.layout.read
        blobs = [read(blob.digest) for blob in image.blobs]
        self.publish("own", read(image.local.blob.digest), blobs)

    def publish_index_of(self, own: Image, stolen: str, size: int) -> None:
        """An index whose entry for this machine is harmless; another entry is somebody else's manifest."""
        here = own.local.blob.descriptor(platform={"architecture": local_architecture(), "os": "linux"})
        there = {"mediaType": MANIFEST, "digest": stolen, "size": size}
        entries = [here, {**there, "platform": {"architecture": "s390x", "os": "linux"}}]
        self.publish("index", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode())

    def publish_skipping(self, own: Image, layer: dict[str, object]) -> None:
        """A manifest of somebody else's layer, with a configuration that says it is one that is unpacked already."""
        config = {**own.layout.read_document(own.local.config.digest), "created": "2024-02-02T00:00:00Z"}
        data = json.dumps(config).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        named = {"config": {"mediaType": CONFIG, "digest": digest, "size": len(data)}, "layers": [layer]}
        document = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **named}).encode()
        self.publish("skipping", document, [data])

    def publish_stolen(self, image: Image) -> None:
        """Somebody else's manifest, which is no secret, and nothing of what it lists."""
        self.published.add(self.publish("steal", image.layout.read(image.local.blob.digest)))

    def publish_list_of(self, image: Image) -> None:
        """An index of his own whose entry for this machine is somebody else's manifest."""
        here = {"architecture": local_architecture(), "os": "linux"}
        entry = image.local.blob.descriptor(platform=here)
        self.publish("list", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode())

    # What nodes are given

    async def pulls(self, node: Node, reference: str, credentials: Credentials | None = None) -> bool:
        """Whether that node's containerd gets the image; if so it keeps it."""
        try:
            await node.pull(reference, credentials=credentials)
        except PullError:
            return False
        return True

    async def status(self, node: Node, method: str, path: str, registry: str) -> int:
        """What the node's door answers to a request below /v2/."""
        assert node.agent
        return (await node.agent.ask_registry(Request(f"/v2/{path}?ns={registry}", method))).status

    async def wait_public(self, node: Node, registry: str, repository: str) -> None:
        """Return when the node has the registry's word that anyone may have the image; it asks beside the pull."""
        path = f"{repository}/manifests/{self.images[repository].root.digest}"
        async with asyncio.timeout(60):
            while await self.status(node, "HEAD", path, registry) != 200:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.1)

    @staticmethod
    def blobs_from(registry: Origin, node: Node) -> list[str]:
        """What the registry gave to a node; a refusal is not a gift."""
        return [a.reference for a in registry.requests() if a.is_blob_transfer and a.client == node.host.ipv4]


async def answers(url: str, host: Host) -> bool:
    """Whether there is an HTTP server, whatever it says."""
    try:
        return (await fetch(url, namespace=host.namespace)).status > 0
    except OSError:
        return False


@asynccontextmanager
async def entitlement_stage(release: Release, settings: Sequence[Table]) -> AsyncIterator[Stage]:
    """As many nodes as there are settings of agents."""
    plans = [NodePlan(release, agent=each) for each in settings]
    async with running_cluster(plans) as cluster, AsyncExitStack() as doors:
        host, folder = cluster.origin_host, cluster.folder / "stage"
        (folder / "strange" / "blobs" / "sha256").mkdir(parents=True)
        pair = await make_key_pair(folder, address=host.ipv4)
        behind = partial(running_origin, namespace=host.namespace, storage=folder / "content")
        backdoor = await doors.enter_async_context(behind(folder / "backdoor", address=f"{host.ipv4}:5003"))
        tokens = behind(
            folder / "t", address=f"{host.ipv4}:5002", extra=registry_settings(f"http://{host.ipv4}:5009/token", pair)
        )
        stage = Stage(cluster, folder, await doors.enter_async_context(tokens), doors, pair)
        stage._backdoor = backdoor
        argv = [sys.executable, "-m", "e2e.strange_registry", f"{host.ipv4}:5007", str(stage.strange)]
        strange = await doors.enter_async_context(running(argv, log=folder / "strange.log", namespace=host.namespace))
        await strange.wait_ready(partial(answers, f"http://{host.ipv4}:5007/v2/", host))
        await stage.let_anyone_have(*ANYONES)
        servers = {TOKENS: tokens_url(host), STRANGE: f"http://{host.ipv4}:5007", f"{TOKENS}:443": tokens_url(host)}
        for node in cluster.nodes:
            for registry, server in servers.items():
                node.containerd.write_hosts(registry, Mirror(f"http://{REGISTRY}", dial_timeout="1s"), server=server)
        yield stage


def tokens_url(host: Host) -> str:
    return f"http://{host.ipv4}:5002"
