"""A play of ten nodes with real containerds: kills, a cut cable, garbage collection, a drained node, a new one, halves.

After each act the page, `status`, `/status`, `/cluster`, metrics, events and the log are compared with what is true.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from documentation.page_pictures import browse
from e2e.api_server import api_server_in
from e2e.test_sums import readings, size_of, total
from lab.agent import AGENT, PATIENT
from lab.cluster import NodePlan, running_cluster
from lab.commands import require, run
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.network import cut_off
from lab.toml_text import merged
from registryd.notation import Address
from tests.fakes.kubernetes import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release
    from tests.fakes.kubernetes_server import FakeApiServer

pytestmark = pytest.mark.timeout(900)

_PROMISED_SECONDS = 15
_LOADED_SECONDS = 45
_TOLERANCE = 0.01
_POD = "registryd/registryd-x7k2p/5d3f0c1e-8a8b-4f1e-9c2d-0123456789ab"
# A pod's service account, for a program that has /run for itself.
_AS_POD = """mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount &&
cp "$0"/* /run/secrets/kubernetes.io/serviceaccount/ && exec "$@" """


@dataclass
class Truth:
    """What is so: who is away and why, what was pulled by whom, who has the image."""

    members: list[Node]
    away: dict[str, str] = field(default_factory=dict)
    """Reasons by the host."""
    pulls: dict[str, list[set[str]]] = field(default_factory=dict)
    """Of a node, whom each pull may have come from."""
    holders: set[str] = field(default_factory=set)
    island: set[str] = field(default_factory=set)
    """Hosts that reach each other and nobody else."""

    @property
    def present(self) -> list[Node]:
        return [node for node in self.members if host_of(node) not in self.away]


class Play:
    def __init__(self, cluster: Cluster, folder: Path, image: Image, reference: str) -> None:
        self.cluster = cluster
        self.image = image
        self.reference = reference
        self.size = size_of(image)
        self.peers = folder / "peers"
        self.truth = Truth(list(cluster.nodes[:9]))
        self.checks = 0
        self.latest = ""

    # Acts

    async def list_peers(self) -> None:
        """Discovery is a file, which agents watch."""
        new = self.peers.with_suffix(".new")
        new.write_text("".join(f"{host_of(node)}:3173\n" for node in self.truth.members))
        new.rename(self.peers)

    async def pull(self, node: Node, *, may_be_from: set[str]) -> None:
        await node.pull(self.reference, timeout=180)
        self.truth.pulls.setdefault(host_of(node), []).append(may_be_from)
        self.truth.holders.add(host_of(node))

    async def collect(self, node: Node) -> None:
        """As a kubelet does."""
        await node.remove(self.reference, *self.image.digests)
        self.truth.holders.discard(host_of(node))

    # What is told of members

    async def check_members(self) -> None:
        """On every agent that is there, in `/status`, metrics and log."""
        for node in self.truth.present:
            expected = self._states_for(node)
            await until(partial(self._says, node, expected), note=lambda: self.latest)
            agent = agent_of(node)
            metrics = await agent.metrics()
            reasons = [reason for reason in expected.values() if reason not in {"", "self"}]
            assert metrics.total("registryd_peers", state="set_aside") == len(reasons)
            for reason in set(reasons):
                assert metrics.total("registryd_peers_set_aside", reason=reason) == reasons.count(reason)
            log = agent.process.log.read_text()
            for host, reason in expected.items():
                if reason not in {"", "self"}:
                    assert f"peer {host}:3173 is set aside: {reason}" in log
            self.checks += len(expected) + 1 + len(reasons)

    def _states_for(self, node: Node) -> dict[str, str]:
        """Reasons of those that are away, by host; empty for those that are well."""
        own, island = host_of(node), self.truth.island
        hosts = [host_of(each) for each in self.truth.members]
        unreached = {host: "no answer" for host in hosts if (host in island) != (own in island)}
        return {host: "self" if host == own else {**unreached, **self.truth.away}.get(host, "") for host in hosts}

    async def _says(self, node: Node, expected: dict[str, str]) -> bool:
        seen = {}
        for member in (await told(node, "/status"))["members"]:
            is_well = member["state"] in {"up", "self"}
            reason = "self" if member["state"] == "self" else "" if is_well else member["reason"] or member["state"]
            seen[member["address"].rpartition(":")[0]] = reason
        self.latest = f"{host_of(node)} says {seen}, and it is {expected}"
        return seen == expected

    # What is told of pulls and images

    async def check_pulls(self) -> None:
        """Each as one entry of `/status` and one line of the log, with sources that can be true."""
        for node in self.truth.present:
            expected = self.truth.pulls.get(host_of(node), [])
            await until(partial(self._has_pulls, node, len(expected)))
            recent = (await told(node, "/status"))["pulls"]["recent"]
            lines = [line for line in log_of(node) if line["message"] == "pull"]
            assert len(lines) == len(recent) == len(expected)
            for pull, line, sources in zip(reversed(recent), lines, expected, strict=True):
                assert (pull["image"], pull["size"]) == (line["image"], line["size"]) == (self.reference, self.size)
                assert pull["node"] == line["node"]
                assert set(pull["sources"]) <= sources, (pull, sources)
                assert sum(pull["sources"].values()) == pytest.approx(1, rel=_TOLERANCE)
                assert pull["share"] == pytest.approx(0 if sources == {"elsewhere"} else 1)
                assert line["share"] == pytest.approx(pull["share"], abs=0.001)
                self.checks += 6

    async def _has_pulls(self, node: Node, count: int) -> bool:
        return len((await told(node, "/status"))["pulls"]["recent"]) == count

    async def check_spread(self) -> None:
        """Who has the image, as the nodes that have it and one that does not see it."""
        present = {host_of(node) for node in self.truth.present}
        holders = self.truth.holders & present
        for node in self.truth.present[-2:] + [each for each in self.truth.present if host_of(each) in holders][:2]:
            await until(partial(self._sees_spread, node, len(present), holders), note=lambda: self.latest)
            self.checks += 2

    async def _sees_spread(self, node: Node, count: int, holders: set[str]) -> bool:
        view = (await told(node, "/cluster"))["view"]
        has = {each["image"]: each["nodes"] for each in view["spread"]}
        expected = {self.reference: len(holders)} if host_of(node) in holders else {}
        alone = [{"host": next(iter(holders)), "images": 1}] if len(holders) == 1 else []
        found, wanted = (view["nodes"], has, view["alone"]), (count, expected, alone)
        self.latest = f"{host_of(node)} says {found}, and it is {wanted}"
        return found == wanted

    async def check_sums(self) -> None:
        """Bytes by source over the cluster, in metrics, vitals and savings. Agents that ended take theirs along."""
        all_pulls = [
            sources for host, pulls in self.truth.pulls.items() if host not in self.truth.away for sources in pulls
        ]
        elsewhere = sum(sources == {"elsewhere"} for sources in all_pulls) * self.size
        spared = len(all_pulls) * self.size - elsewhere
        await until(lambda: self._sums_are(spared, elsewhere))
        self.checks += 4

    async def _sums_are(self, spared: int, elsewhere: int) -> bool:
        read = [await agent_of(node).metrics() for node in self.truth.present]
        found = [
            total(read, "registryd_sent_bytes_total", source="peer"),
            total(read, "registryd_elsewhere_bytes_total"),
        ]
        told_of = (await told(self.truth.present[0], "/cluster"))["view"]["hours"]
        hours = [sum(hour[name] for hour in told_of) for name in ("spared", "elsewhere")]
        return found == hours == [spared, elsewhere]

    # What is told of copies

    async def check_copies(self, reference: str, count: int) -> set[str]:
        """So many nodes say that they keep it, and those have containerd's pin on it; their hosts."""
        await until(partial(self._are_kept, reference, count), note=lambda: self.latest)
        keepers = {host_of(node) for node in self.truth.present if reference in await pinned(node)}
        assert len(keepers) == count
        self.checks += count + 1
        return keepers

    async def _are_kept(self, reference: str, count: int) -> bool:
        said = {host_of(node): (await told(node, "/status"))["copies"] for node in self.truth.present}
        kept = [each for copies in said.values() for each in copies if each["image"] == reference]
        self.latest = f"{count} copies of {reference} are wanted, and it is {said}"
        return len([each for each in kept if each["state"] != "taking"]) == count

    # What people see

    async def check_page(self, node: Node, *words: str) -> None:
        await until(lambda: self._page_says(node, words), note=lambda: self.latest)
        self.checks += len(words)

    async def _page_says(self, node: Node, words: Sequence[str]) -> bool:
        dump = await browse(Address("127.0.0.1", 3175), "--dump-dom", inside=node.host.namespace.command)
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", re.sub(r"(?s)<(script|style)>.*?</\1>", "", dump)))
        self.latest = f"the page says {text}, and not {[word for word in words if word not in text]}"
        return all(word in text for word in words)

    async def check_status(self, node: Node, *words: str) -> None:
        """The command, as people call it on the node."""
        said = await run(*node.host.namespace.command(sys.executable, "-m", "registryd", "status"))
        for word in words:
            assert word in said, f"{word!r} is not in\n{said}"
        self.checks += len(words)


def host_of(node: Node) -> str:
    return node.host.ipv4


def agent_of(node: Node) -> Any:
    assert node.agent
    return node.agent


async def told(node: Node, path: str) -> Any:
    return json.loads((await agent_of(node).ask_admin(path)).body)


async def pinned(node: Node) -> frozenset[str]:
    return await node.containerd.images.pinned()


def log_of(node: Node) -> list[Any]:
    return [json.loads(line) for line in agent_of(node).process.log.read_text().splitlines() if line.startswith("{")]


async def until(holds: Callable[[], Any], *, note: Callable[[], str] = str) -> None:
    try:
        async with asyncio.timeout(_PROMISED_SECONDS + _LOADED_SECONDS):
            while not await holds():  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"it is not told as it is: {note()}") from None


async def test_the_play(  # noqa: PLR0915 - one act after the other, as they are told
    newest: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("chromium", package="chromium")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    recipe = ImageRecipe(layers=(LayerRecipe(size=12_000_000), LayerRecipe(size=2_000_000)))
    image = make_image(tmp_path / "layout", recipe)
    (tmp_path / "peers").write_text("")
    keeping: Table = {"keep": ["origin.lab/demo/kept:v1 copies=3"], "keep_delay": "5s", "keep_max_disk": 99}
    discovery: Table = {"kind": "file", "file": str(tmp_path / "peers")}
    plan = NodePlan(newest, agent=merged(PATIENT, {"discovery": discovery, "images": keeping}))
    async with running_cluster([plan] * 10, are_acquainted=False) as cluster:
        play = Play(cluster, tmp_path, image, await cluster.push(image, "demo/app"))
        truth, new = play.truth, cluster.nodes[9]
        one, two, three, four, five, six, _seven, eight, nine = truth.members
        await agent_of(new).stop()
        account = tmp_path / "account"
        async with api_server_in(six.host.namespace, "127.0.0.1", account, token="good", namespace="registryd") as api:
            agent = agent_of(six)
            agent.program = ("unshare", "--mount", "sh", "-c", _AS_POD, str(account), *AGENT)
            agent.settings["pulls"] = {"events_pod": _POD}
            await agent.restart()
            await play.list_peers()

            # They find each other.
            await play.check_members()
            await play.check_page(six, "9 of 9", "Nothing is on its way between nodes.")

            # One fetches, four follow.
            await play.pull(one, may_be_from={"elsewhere"})
            givers = {host_of(node) for node in (one, two, three, four, five)}
            async with asyncio.TaskGroup() as group:
                for node in (two, three, four, five):
                    group.create_task(play.pull(node, may_be_from=givers), name=node.host.name)
            await play.check_pulls()
            await play.check_sums()
            await play.check_spread()
            await play.check_page(two, "5 of 9", play.reference, "80 %")

            # One agent is killed, one cable cut.
            await agent_of(nine).kill()
            await eight.host.unplug()
            truth.away = {host_of(nine): "refused", host_of(eight): "no answer"}
            await play.check_members()
            await play.check_page(six, "7 of 9", "refused, since", "no answer, since", "Is the node up?")
            await play.check_status(six, "refused, since", "no answer, since", "start it, and look at its log")

            # Garbage collection leaves one copy.
            for node in (one, two, three, four):
                await play.collect(node)
            await play.check_spread()
            await play.check_page(five, "only here", "1 image is on one node only")
            await play.check_status(five, "only here", "images that only one node has")

            # It is enough: another node gets all of it.
            cluster.origin.forget_requests()
            await play.pull(six, may_be_from={host_of(five)})
            assert not [access for access in cluster.origin.requests() if access.is_blob_transfer]
            await play.check_pulls()
            await play.check_sums()
            await play.check_spread()
            await until(lambda: events_are(api, 1))
            (event,) = api.cluster.select(Selection("events", "registryd"))
            assert event["message"].startswith(f"{play.reference}: {play.size / 1e6:.1f} MB in ")
            assert f"from {host_of(five)} 100 %" in event["message"]
            play.checks += 3

            # A node is drained, and leaves with what it has.
            truth.members.remove(five)
            truth.holders.discard(host_of(five))
            truth.pulls.pop(host_of(five))
            await play.list_peers()
            await agent_of(five).stop()
            await play.check_members()
            await play.check_spread()
            await play.check_page(six, "6 of 8", "only here")

            # A new one comes, and those that were away are back.
            truth.members.append(new)
            await agent_of(new).start()
            await play.list_peers()
            await agent_of(nine).start()
            await eight.host.plug_in()
            truth.away = {}
            await until(lambda: is_up(six, nine))
            await play.pull(new, may_be_from={host_of(six)})
            await play.check_members()
            await play.check_pulls()
            await play.check_sums()
            await play.check_spread()
            await play.check_page(six, "9 of 9", "2 of 9")

            # What was given was taken.
            read = await readings(cluster_of(cluster, truth.members))
            lost = play.size * 2  # of the drained node: what it took, and what it gave, at most
            given, taken = (total(read, f"registryd_peer_{what}_bytes_total") for what in ("sent", "received"))
            assert abs(given - taken) <= lost

            # One has an image of which three are to be: two more take it, from the first.
            kept = await cluster.push(
                make_image(tmp_path / "kept", ImageRecipe(layers=(LayerRecipe(size=2_000_000),), seed="kept")),
                "demo/kept",
            )
            await one.pull(kept)
            cluster.origin.forget_requests()
            keepers = await play.check_copies(kept, 3)

            # The cluster falls into halves: each is a cluster of its own, in which pulls go on from those that have it.
            keeper = next(node for node in truth.members if host_of(node) in keepers)
            others = [node for node in truth.members if host_of(node) not in keepers and node is not one]
            island = [keeper, *others[:3]]
            async with cut_off([node.host for node in island]):
                truth.island = {host_of(node) for node in island}
                await play.check_members()
                await play.check_page(keeper, "4 of 9", "no answer, since")
                await others[0].pull(kept, timeout=120)
            truth.island = set()
            await play.check_members()
            assert not [access for access in cluster.origin.requests() if access.is_blob_transfer]
            assert len([node for node in truth.members if kept in await pinned(node)]) >= len(keepers)
            play.checks += 2
            print(f"\n{play.checks} statements compared with the truth; {len(truth.members)} nodes at the end")


def cluster_of(cluster: Cluster, members: list[Node]) -> Any:
    return replace(cluster, nodes=tuple(members))


async def events_are(api: FakeApiServer, count: int) -> bool:
    return len(api.cluster.select(Selection("events", "registryd"))) == count


async def is_up(viewer: Node, node: Node) -> bool:
    members = (await told(viewer, "/status"))["members"]
    return any(member["address"].startswith(f"{host_of(node)}:") and member["state"] == "up" for member in members)
