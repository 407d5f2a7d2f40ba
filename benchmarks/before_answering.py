"""Requests answered by an earlier build's agents and by this one's, in the same run, by turns.

    git worktree add /tmp/before COMMIT && (cd /tmp/before && python build_protos.py)
    python -m benchmarks.before_answering /tmp/before [--rounds 12] [--store containerd directory] [--mode upstream]

Hits at a peer, and misses. Three nodes in network namespaces, mTLS. Both builds run on each node at the same time, at
ports of their own, over the same containerd or the same directory; each build is a cluster of its own. In a round each
build is asked for some dozens of blobs that it was not asked for before. Which build begins changes from round to
round, and the first round does not count. Latency is until the first byte, on a new connection; processor time is of
the agent that is asked, and of all three. The table has the medians of the rounds, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, make_secret
from benchmarks.contestants import write_blob
from benchmarks.downloads import Url
from benchmarks.latency import first_byte
from benchmarks.naming import name_blobs
from benchmarks.processes import Server
from lab.agent import AGENT, PEERS_PORT, Agent
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.toml_text import merged
from lab.versions import any_release
from registryd.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.cluster import Cluster
    from lab.toml_text import Table

_NODES: Final = 3
_REPOSITORY: Final = "bench/app"
# Overlay file systems have a limit of some 120 layers.
_LAYERS_OF_IMAGE: Final = 90
_PORTS: Final = 10
"""How far the ports of one build are from those of the other."""
_FOUND_SECONDS: Final = 3.0
"""Until index nodes know what is where: an agent tells them within a tenth of a second, and here 400 layers."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind: how many in a round, and the size of what is there; None: it is nowhere."""

    title: str
    count: int
    size: int | None


_KINDS: Final = (
    Kind("hit, 10 KB", 30, 10_000),
    Kind("hit, 2 MiB", 8, 2 * MIB),
    Kind("miss", 40, None),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob; without a size one that nobody has."""

    digest: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Answers:
    """The median latency of some requests, and processor time for each: of the asked agent, of all; milliseconds."""

    latency: float
    asked: float
    everyone: float


@dataclass(frozen=True, slots=True)
class Build:
    """The agents of one build; the first is asked, the last has the content."""

    agents: Sequence[Agent]
    port: int

    def measure(self, blobs: Sequence[Wanted], repository: str) -> Answers:
        servers = [Server(agent.process.pid) for agent in self.agents]
        before = [server.cpu_seconds() for server in servers]
        seconds = [first_byte(self._url(blob.digest, repository), size=blob.size) for blob in blobs]
        spent = [server.cpu_seconds() - begun for server, begun in zip(servers, before, strict=True)]
        each = 1000 / len(blobs)
        return Answers(1000 * statistics.median(seconds), spent[0] * each, sum(spent) * each)

    def _url(self, digest: str, repository: str) -> Url:
        return Url(self.port, f"/v2/{repository}/blobs/{digest}?ns={ORIGIN}")


@dataclass(frozen=True, slots=True)
class Content:
    """The blobs that the last node has, for each kind, all in one repository."""

    repository: str
    blobs: Mapping[Kind, Sequence[Wanted]]

    def for_round(self, kind: Kind, number: int) -> Sequence[Wanted]:
        if kind.size is None:
            return [Wanted(f"sha256:{secrets.token_hex(32)}", None) for _ in range(kind.count)]
        return self.blobs[kind][number * kind.count : (number + 1) * kind.count]


async def measure(store: str, mode: str, programs: Mapping[str, tuple[str, ...]], rounds: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan = NodePlan(await any_release(), agent=None)
        cluster = await stack.enter_async_context(running_cluster([plan] * _NODES, are_acquainted=False))
        content = await (_by_pulls if store == "containerd" else _by_files)(cluster, folder, rounds)
        builds = {}
        for number, (name, program) in enumerate(programs.items()):
            changes = _changes(folder, store, mode)
            agents = _agents(cluster, folder / name, changes, program, shift=number * _PORTS)
            for agent in agents:
                stack.push_async_callback(agent.stop)
                await agent.start()
            builds[name] = Build(agents, 3172 + number * _PORTS)
        for build in builds.values():
            await _wait_acquainted(build.agents)
        await asyncio.sleep(_FOUND_SECONDS)
        with cluster.nodes[0].host.namespace.entered():
            found = _by_turns(builds, content, rounds)
    _print(f"{store} store, mode {mode}, {rounds} rounds", found)


def _by_turns(builds: Mapping[str, Build], content: Content, rounds: int) -> Mapping[Kind, Mapping[str, list[Answers]]]:
    found: dict[Kind, dict[str, list[Answers]]] = {kind: defaultdict(list) for kind in _KINDS}
    for number in range(rounds + 1):
        for kind in _KINDS:
            blobs = content.for_round(kind, number)
            for name in list(builds) if number % 2 else list(builds)[::-1]:
                answers = builds[name].measure(blobs, content.repository)
                if number:
                    found[kind][name].append(answers)
    return found


def _print(title: str, found: Mapping[Kind, Mapping[str, list[Answers]]]) -> None:
    print(f"\n{title} (milliseconds)\n\n| | before | now | ratio |\n| --- | --- | --- | --- |")
    for kind, of_builds in found.items():
        for what, label in (
            ("latency", kind.title),
            ("asked", "… processor of the asked agent"),
            ("everyone", "… of all three"),
        ):
            before, now = ([getattr(each, what) for each in answers] for answers in of_builds.values())
            ratio = statistics.median(mine / other for mine, other in zip(now, before, strict=True))
            print(
                f"| {label} | {statistics.median(before):.2f} | {statistics.median(now):.2f} | {ratio:.2f} |",
                flush=True,
            )


# ---------------------------------------------------------------- the agents


def _changes(folder: Path, store: str, mode: str) -> Table:
    trust = folder / "trust"
    trust.mkdir(exist_ok=True)
    peers = {"insecure": False, **Trust.TLS.settings(make_secret(trust))}
    return {"authorization": {"mode": mode}, "peers": peers, "log": {"level": "warning"}, "store": {"kind": store}}


def _agents(cluster: Cluster, folder: Path, changes: Table, program: tuple[str, ...], *, shift: int) -> list[Agent]:
    made = []
    for node in cluster.nodes:
        places, own = node.containerd.places, folder / node.host.name
        others = [f"{other.host.ipv4}:{PEERS_PORT + shift}" for other in cluster.nodes if other is not node]
        settings: Table = {
            "registry": {"listen": f"127.0.0.1:{3172 + shift}"},
            "admin": {"listen": f"127.0.0.1:{3175 + shift}"},
            "authorization": {"hosts_dir": str(places.hosts)},
            "store": {
                "containerd_socket": str(places.socket),
                "containerd_root": str(places.root),
                "directory": str(_layout(cluster, node.host.name)),
            },
            "peers": {
                "listen": f"{node.host.ipv4}:{PEERS_PORT + shift}",
                "content_listen": f"{node.host.ipv4}:{3174 + shift}",
                "advertise": node.host.ipv4,
            },
            "discovery": {"kind": "static", "peers": others},
        }
        made.append(Agent(merged(settings, changes), own, node.host.namespace, program=program))
    return made


async def _wait_acquainted(agents: Sequence[Agent]) -> None:
    async with asyncio.timeout(60):
        for agent in agents:
            while (await agent.metrics()).total("registryd_peers", state="available") < _NODES - 1:  # noqa: ASYNC110 - agents have no event for it
                await asyncio.sleep(0.05)


# ---------------------------------------------------------------- the content


async def _by_pulls(cluster: Cluster, folder: Path, rounds: int) -> Content:
    """Images that the last node pulls from the origin."""
    blobs: dict[Kind, list[Wanted]] = defaultdict(list)
    # An agent learns from what its node has where containerd's files are; a node of a cluster always has something.
    other = make_image(folder / "other", ImageRecipe((LayerRecipe(1000),), (local_architecture(),)))
    reference = await cluster.push(other, "bench/other")
    await asyncio.gather(*(node.pull(reference) for node in cluster.nodes))
    for kind, size, start in _batches(rounds, _LAYERS_OF_IMAGE):
        layers = (LayerRecipe(size, gzipped=False),) * min(_LAYERS_OF_IMAGE, kind.count * (rounds + 1) - start)
        name = f"{size}-{start}"
        image = make_image(folder / name, ImageRecipe(layers, (local_architecture(),), tag=name, seed=name))
        await cluster.nodes[-1].pull(await cluster.push(image, _REPOSITORY), timeout=300)
        blobs[kind] += [Wanted(layer.digest, layer.size) for layer in image.local.layers]
    return Content(_REPOSITORY, blobs)


async def _by_files(cluster: Cluster, _: Path, rounds: int) -> Content:
    """Files of a layout."""
    blobs: dict[Kind, list[Wanted]] = defaultdict(list)
    layouts = [_layout(cluster, node.host.name) for node in cluster.nodes]
    for layout in layouts:
        (layout / "blobs/sha256").mkdir(parents=True)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (layout / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    for kind, size, _start in _batches(rounds, 1):
        digest = write_blob(layouts[-1] / "blobs/sha256", size)
        blobs[kind].append(Wanted(f"sha256:{digest}", size))
    name_blobs(layouts[-1], Repository.parse(f"{ORIGIN}/{_REPOSITORY}"))
    return Content(_REPOSITORY, blobs)


def _batches(rounds: int, count: int) -> Iterator[tuple[Kind, int, int]]:
    """What is to be made for all rounds, so many at a time: the kind, the size, the number of the first."""
    for kind in _KINDS:
        if kind.size is not None:
            for start in range(0, kind.count * (rounds + 1), count):
                yield kind, kind.size, start


def _layout(cluster: Cluster, host: str) -> Path:
    return cluster.folder / "layouts" / host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the earlier build, with its protos built")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--store", nargs="+", choices=("containerd", "directory"), default=["containerd", "directory"])
    parser.add_argument("--mode", choices=("public", "upstream", "open"), default="upstream")
    arguments = parser.parse_args()
    # -P: what is in the folder that this runs in would be imported before the earlier build.
    before = ("env", f"PYTHONPATH={arguments.before.resolve()}", sys.executable, "-P", "-m", "registryd", "agent")
    for store in arguments.store:
        asyncio.run(measure(store, arguments.mode, {"before": before, "now": AGENT}, arguments.rounds))


if __name__ == "__main__":
    main()
