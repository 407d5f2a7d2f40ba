"""Which files a GET of a large layer passes while the layer still grows at another node, by a trace of real agents.

    python -m benchmarks.hops [--before CHECKOUT] [--rounds 3] [--list]

Two nodes with containerds in network namespaces (root). The first pulls an image over a slow link. A client asks the
second node's registry for the layer: its agent finds the growing layer at the first, and both pass it on. `ran` counts
the files of registryd with a Python frame for that request. `passed` counts the files that are on the way from the
request to its bytes: a frame of theirs was suspended, or was on the stack when bytes moved. Files that only work out a
value are not on the way. Index nodes that answer a question are not counted. An answer that is there at once is not
waited for: so rounds differ by a file or two, and all files of all rounds are counted.

CHECKOUT is an earlier build, with its protos built; it runs with this environment's libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import traced
from lab.cluster import NodePlan, running_cluster
from lab.fetch import Request
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.versions import any_release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cluster import Cluster, Node
    from lab.images import Image

_LAYER_BYTES: Final = 24 * MIB
_MEGABITS: Final = 64
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Passed:
    """Files below registryd/, of all that ran for the request, and of those that its bytes waited for."""

    ran: frozenset[str]
    passed: frozenset[str]

    @classmethod
    def read(cls, report: Path) -> Passed:
        lists = json.loads(report.read_text())
        return cls(frozenset(lists["ran"]), frozenset(lists["passed"]))

    def __or__(self, other: Passed) -> Passed:
        return Passed(self.ran | other.ran, self.passed | other.passed)


def trace_rounds(rounds: int, checkout: Path | None) -> tuple[Passed, Passed]:
    asks = gives = Passed(frozenset(), frozenset())
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            asked, gave = asyncio.run(trace(Path(folder), checkout))
        asks, gives = asks | asked, gives | gave
    return asks, gives


async def trace(folder: Path, checkout: Path | None) -> tuple[Passed, Passed]:
    """What ran at the node that was asked, and at the node that gave."""
    recipe = ImageRecipe((LayerRecipe(_LAYER_BYTES),), (local_architecture(),))
    image = make_image(folder / "image", recipe)
    digest = image.local.layers[0].digest
    reports = {folder / "gives": f"/v1/blobs/{digest}", folder / "asks": f"/v2/demo/app/blobs/{digest}"}
    async with running_cluster([NodePlan(await any_release())] * len(reports)) as cluster:
        for node, (report, path) in zip(cluster.nodes, reports.items(), strict=True):
            assert node.agent
            node.agent.program = _program(checkout, report, path)
            await node.agent.restart()
        await cluster.wait_acquainted()
        await _get_growing(cluster, image)
        for node in cluster.nodes:
            assert node.agent
            await node.agent.stop()
    gives, asks = (Passed.read(report) for report in reports)
    return asks, gives


def _program(checkout: Path | None, report: Path, path: str) -> tuple[str, ...]:
    # -P: the folder of the traced program has modules with names that others have.
    before = ("env", f"PYTHONPATH={(checkout or Path.cwd()).resolve()}", sys.executable, "-P", traced.__file__)
    return (*before, str(report), path, "agent")


async def _get_growing(cluster: Cluster, image: Image) -> None:
    first, second = cluster.nodes
    layer = image.local.layers[0]
    assert second.agent
    await cluster.origin_host.limit(_MEGABITS)
    pull = asyncio.create_task(first.pull(await cluster.push(image, "demo/app")))
    await _wait_growing(first, layer.digest)
    answer = await second.agent.ask_registry(Request(f"/v2/demo/app/blobs/{layer.digest}?ns=origin.lab", timeout=60))
    assert answer.status == _OK
    assert len(answer.body) == layer.size
    assert await cluster.origin.blob_transfers(expected=1, blob=layer.digest, client=second.host.ipv4) == []
    await pull


async def _wait_growing(node: Node, digest: str) -> None:
    """Return when the node has so much of the content that it is a source."""
    async with asyncio.timeout(60):
        while node.containerd.arrived(digest) < 2 * MIB:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)


def show(title: str, files: frozenset[str], *, listed: bool) -> None:
    rooms = {name.rpartition("/")[0].partition("/")[0] for name in files}
    print(f"  {title:28} {len(files):3} files in {len(rooms)} packages")
    if listed:
        print(*(f"    {name}" for name in sorted(files)), sep="\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier build, which is traced as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", action="store_true", help="name the files")
    options = parser.parse_args(arguments)
    if options.before and not (options.before / "registryd/pb/__init__.py").exists():
        parser.error(f"{options.before} is no checkout with its protos built")  # this build would be traced instead
    for checkout in [options.before, None] if options.before else [None]:
        asks, gives = trace_rounds(options.rounds, checkout)
        print(checkout or "this build")
        for node, found in (("asked node", asks), ("giving node", gives), ("both", asks | gives)):
            show(f"{node}: passed", found.passed, listed=options.list)
            show(f"{node}: ran", found.ran, listed=options.list)


if __name__ == "__main__":
    main()
