"""The field of the fault matrix: nodes that pull, peers that go wrong, an origin that always works."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from e2e.faults.puller import Puller
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Options
from lab.faults.characters import CHARACTERS
from lab.faults.host import FaultyHost
from lab.images import MIB, Image, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    from lab.cluster import Cluster
    from lab.versions import Release

# A layer that streams and has a middle to break in, and one that is read whole.
_LAYERS: Final = (LayerRecipe(6 * MIB, gzipped=False), LayerRecipe(200 * 1024, gzipped=False))
# So large that it is got from several peers at once.
_LARGE_LAYERS: Final = (LayerRecipe(24 * MIB, gzipped=False), LayerRecipe(200 * 1024, gzipped=False))
# Fast enough not to be the point, slow enough that two processors are not the limit.
_MEGABITS: Final = 200
# 512 and more switch it on; chunks of a megabyte make six of the large layer.
_PARALLEL: Final = Options(concurrent_layer_fetch_buffer=MIB)
# Characters that take their process or their host down with them: each node gets a host of its own for them.
MORTAL: Final = ("dies", "vanishes")
# Of which there are several with the same large content, and honest ones beside them.
OF_SEVERAL: Final = ("good", "stalls", "resets", "ends-early", "corrupts-large", "trickles", "sluggish", "wrong-length")
SEVERAL: Final = 3


@dataclass(frozen=True)
class Field:
    """All of it, running."""

    cluster: Cluster
    pullers: tuple[Puller, ...]
    faulty: FaultyHost
    images: tuple[Image, ...]

    def image(self, *, accompanied: bool) -> Image:
        """Kinds of cases have an image each: an agent remembers who failed for a digest, and must not yet."""
        return self.images[accompanied]

    def peer(self, character: str, puller: Puller, *, accompanied: bool) -> str:
        """Where a peer of this character is asked, another one for each kind of cases."""
        if character in MORTAL:
            return puller.mortal.address(MORTAL.index(character))
        return self.faulty.address(2 * list(CHARACTERS).index(character) + accompanied)

    def several(self, character: str, puller: Puller) -> list[str]:
        """Where several peers of this character are asked that only cases with several have."""
        if character in MORTAL:
            first = len(MORTAL) + SEVERAL * MORTAL.index(character)
            return [puller.mortal.address(first + number) for number in range(SEVERAL)]
        first = 2 * len(CHARACTERS) + SEVERAL * OF_SEVERAL.index(character)
        return [self.faulty.address(first + number) for number in range(SEVERAL)]


@asynccontextmanager
async def open_field(releases: Sequence[Release], *kinds: str) -> AsyncIterator[Field]:
    """A node of each containerd, one more of the last with parallel layer fetch, and an image of each kind."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        images = tuple(_image(folder, kind) for kind in kinds)
        plans, names = _plans(releases, folder)
        cluster = await stack.enter_async_context(running_cluster(plans))
        for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
            await host.limit(_MEGABITS)
        for image in images:
            await cluster.push(image, f"faults/{image.tag}")
        layouts = [image.layout.folder for image in images]

        async def start(label: str, characters: list[str]) -> FaultyHost:
            host = await cluster.network.add_host(label)
            faulty = FaultyHost(host, characters, layouts=layouts, folder=folder)
            stack.push_async_callback(faulty.stop)
            await faulty.start()
            return faulty

        mortal = [*MORTAL, *_each(MORTAL, SEVERAL)]
        mortals = [await start(f"mortal{number}", mortal) for number in range(len(names))]
        faulty = await start("faulty", [*_each(CHARACTERS, 2), *_each(OF_SEVERAL, SEVERAL)])
        pullers = [
            Puller(name, node, _peers_file(folder, number), mortal)
            for number, (name, node, mortal) in enumerate(zip(names, cluster.nodes, mortals, strict=True))
        ]
        ready = await asyncio.gather(*(_warmed_up(puller, images[0]) for puller in pullers))
        yield Field(cluster, tuple(ready), faulty, images)


async def _warmed_up(puller: Puller, image: Image) -> Puller:
    """After a first pull: what agents open with it they keep open."""
    reference = f"{ORIGIN}/faults/{image.tag}:{image.tag}"
    await puller.node.pull(reference)
    await puller.forget(reference, image)
    await puller.hang_up()
    return replace(puller, first=await puller.holdings())


def _plans(releases: Sequence[Release], folder: Path) -> tuple[list[NodePlan], list[str]]:
    options = [Options()] * len(releases) + [_PARALLEL]
    names = [*(str(release) for release in releases), f"{releases[-1]}, parallel"]
    plans = []
    for number, (release, option) in enumerate(zip([*releases, releases[-1]], options, strict=True)):
        file = _peers_file(folder, number)
        file.parent.mkdir()
        file.touch()
        discovery = {"kind": "file", "file": str(file), "peers": []}
        plans.append(NodePlan(release, option, {"discovery": discovery}))
    return plans, [name.removeprefix("containerd ") for name in names]


def _each(characters: Iterable[str], times: int) -> list[str]:
    return [name for name in characters for _ in range(times)]


def _peers_file(folder: Path, number: int) -> Path:
    return folder / f"peers{number}" / "list"


def _image(folder: Path, kind: str) -> Image:
    layers = _LARGE_LAYERS if kind.endswith("several") else _LAYERS
    recipe = ImageRecipe(layers, (local_architecture(),), tag=kind, seed=kind)
    return make_image(folder / kind, recipe)
