"""The admin port's report on this agent and its cluster: numbers that the parts keep anyway, as JSON."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from registryd.agent.bandwidth import told
from registryd.agent.cluster_view import cluster_view, without_names
from registryd.agent.own_trouble import own_trouble
from registryd.agent.savings import Savings
from registryd.agent.traffic import traffic_of
from registryd.aio import clock
from registryd.cluster.assembly import ClusterView, Flow, Hour, Vitals, image_keys, label_of
from registryd.content.source import ContentUnavailable
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.agent.bandwidth import Bandwidth
    from registryd.agent.hosts_folders import HostsFolders
    from registryd.agent.trial import TrialDesk
    from registryd.cluster.assembly import Checkup, Copies, Examination, Members, Node, Zones
    from registryd.config.agent import Settings
    from registryd.content.background import Announced
    from registryd.content.description import StoreDescription
    from registryd.content.pull_log import PullLog
    from registryd.notation import Address
    from registryd.observability.metrics import Metrics
    from registryd.serving.readiness import Readiness
    from registryd.serving.transfers import Transfer, Transfers
    from registryd.store.choice import NodeStore

# One look at all members serves every question within this time. A look costs a handshake with each member, and where
# the admin port is open to the network, anyone may ask. The page asks every ten seconds.
_LOOK_SECONDS: Final = 2.0
# Of bodies to peers; the largest are what people look for.
_MOST_FLOWS: Final = 16


class VitalSigns:
    """How this agent is, for its peers and for people."""

    def __init__(  # noqa: PLR0913 - the parts that it looks at, all named
        self,
        settings: Settings,
        store: NodeStore,
        *,
        metrics: Metrics,
        readiness: Readiness,
        transfers: Transfers,
        zones: Zones,
        pulls: PullLog,
        bandwidth: Bandwidth,
        folders: HostsFolders | None = None,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._folders = folders
        self._zones = zones
        self.transfers = transfers
        self.pulls = pulls
        self.bandwidth = bandwidth
        self.began = time.time()
        self.savings = Savings(self._saved, clock.now)
        self._store = store
        self._readiness = readiness

    async def take(self) -> Vitals:
        store, traffic = await self.store(), traffic_of(self._metrics)
        return Vitals(
            name=self.settings.agent.node_name,
            version=VERSION,
            time=time.time(),
            up_seconds=int(time.time() - self.began),
            images=store.images if store else 0,
            image_names=len(store.names) if store else 0,
            transfers=len(self.transfers),
            received_bytes=traffic.received_bytes,
            sent_bytes=traffic.sent_bytes,
            requests=traffic.requests,
            hits=traffic.hits,
            spared_bytes=traffic.spared_bytes,
            elsewhere_bytes=traffic.elsewhere_bytes,
            problem=await self._readiness.missing() or "",
            zone=self._zones.own(),
        )

    async def view(self) -> ClusterView:
        """The cluster, for operators."""
        store = await self.store()
        running = [each for each in self.transfers.running() if not each.name]
        running.sort(key=lambda each: each.sent_bytes - each.size)
        flows = [
            Flow(label_of(each.digest), each.size, min(each.sent_bytes, each.size), each.receiver) for each in running
        ]
        hours = [Hour(each.spared, each.elsewhere) for each in self.savings.hours()]
        return ClusterView(tuple(flows[:_MOST_FLOWS]), image_keys(store.names if store else ()), tuple(hours))

    async def hosts_dirs(self) -> list[str]:
        """Whose hosts.toml files say where upstreams are asked; none where they are not asked."""
        if self._folders is None or not self._folders.are_needed:
            return []
        return [str(folder) for folder in await self._folders.get()]

    def _saved(self) -> tuple[int, int]:
        traffic = traffic_of(self._metrics)
        return traffic.spared_bytes, traffic.elsewhere_bytes

    async def store(self) -> StoreDescription | None:
        try:
            return await self._store.describe()
        except ContentUnavailable:
            return None


class AgentOverview:
    """An Overview (`registryd.serving.admin`) of a running agent."""

    def __init__(  # noqa: PLR0913 - what there is to be seen of, by name
        self,
        node: Node,
        members: Members,
        *,
        signs: VitalSigns,
        checkup: Checkup,
        desk: TrialDesk,
        copies: Copies | None = None,
    ) -> None:
        self._node = node
        self._members = members
        self._signs = signs
        self._checkup = checkup
        self._desk = desk
        self._copies = copies
        self._looking = asyncio.Lock()
        self._looked: Mapping[str, Any] = {}
        self._looked_until = 0.0
        self._names: dict[Address, str] = {}

    async def status(self, *, with_names: bool) -> Mapping[str, Any]:
        vitals, members = await self._signs.take(), self._listed()
        return {
            "node": {"id": str(self._node.id), **_vitals(vitals), "began": self._signs.began},
            "bandwidth": told(self._signs.bandwidth.rates),
            "doors": _doors(self._signs.settings),
            "hosts_dirs": await self._signs.hosts_dirs() if with_names else [],
            "store": _store(await self._signs.store(), with_names=with_names),
            "members": members,
            "own_trouble": own_trouble(members),
            "pulls": {
                "running": [_pull(each, with_names=with_names) for each in self._signs.pulls.under_way()],
                "recent": [_pull(each, with_names=with_names) for each in self._signs.pulls.recent()],
            },
            "copies": [_copy(each, with_names=with_names) for each in self._copies.status()] if self._copies else [],
            "transfers": {
                "running": [_transfer(each, with_names=with_names) for each in self._signs.transfers.running()],
                "recent": [_transfer(each, with_names=with_names) for each in self._signs.transfers.recent()],
            },
        }

    def _listed(self) -> list[dict[str, Any]]:
        return [
            {
                "address": str(member.address),
                "state": member.state.value,
                "since": member.since,
                "reason": member.trouble or "",
            }
            for member in self._members.everyone()
        ]

    async def cluster(self, *, with_names: bool) -> Mapping[str, Any]:
        async with self._looking:
            if clock.now() >= self._looked_until:
                self._looked = await self._look()
                self._looked_until = clock.now() + _LOOK_SECONDS
            looked = self._looked
        return looked if with_names else {**looked, "view": without_names(looked["view"])}

    async def _look(self) -> Mapping[str, Any]:
        vitals, view, store = await self._signs.take(), await self._signs.view(), await self._signs.store()
        examined = await self._checkup.reports()
        own_host = self._checkup.own_address().host
        # A member that does not answer any more is still known by its name.
        self._names = {each.address: name for each in examined if (name := self._name_of(each))}
        names = {label_of(each.digest): each.name for each in self._signs.transfers.known() if each.name}
        whole = cluster_view(view, own_host, examined, images=store.names if store else (), names=names)
        return {
            "node": _vitals(vitals),
            "own_host": own_host,
            "members": [{**_examined(each), "name": self._names.get(each.address, "")} for each in examined],
            "view": whole,
        }

    def _name_of(self, member: Examination) -> str:
        return member.report.vitals.name if member.report else self._names.get(member.address, "")

    async def checkup(self) -> Mapping[str, Any]:
        return {
            "own_address": str(self._checkup.own_address()),
            "members": [_examined(each) for each in await self._checkup.examine()],
        }

    async def begin_trial(self, registry: str) -> Mapping[str, Any]:
        return await self._desk.begin(registry, self._checkup)

    def brings(self, announced: Announced, seconds: float) -> None:
        self._signs.bandwidth.background.announce(announced, seconds)

    def ends(self, by: str) -> None:
        self._signs.bandwidth.background.end_all(by)


def _vitals(vitals: Vitals) -> dict[str, Any]:
    return {name: getattr(vitals, name) for name in Vitals.__dataclass_fields__}


def _doors(settings: Settings) -> dict[str, Any]:
    return {
        "registry": str(settings.registry.listen),
        "peers": str(settings.peers.listen),
        "content": str(settings.peers.content_listen),
        "has_token": settings.registry.token_file is not None,
        "is_secured": settings.peers.has_credentials,
    }


def _store(store: StoreDescription | None, *, with_names: bool) -> dict[str, Any] | None:
    if store is None:
        return None
    return {
        "kind": store.kind,
        "reading": store.reading if with_names else "",
        "is_direct": store.is_direct,
        "images": store.images,
        "image_names": len(store.names),
        "names": list(store.names) if with_names else [],
        "kept_layers": store.kept_layers,
        "kept_bytes": store.kept_bytes,
    }


def _pull(told: Mapping[str, Any], *, with_names: bool) -> dict[str, Any]:
    return {**told, "image": told["image"] if with_names else ""}


def _copy(told: Mapping[str, Any], *, with_names: bool) -> dict[str, Any]:
    return dict(told) if with_names else {**told, "image": "", "digest": ""}


def _transfer(transfer: Transfer, *, with_names: bool) -> dict[str, Any]:
    return {
        "name": transfer.name if with_names else "",
        "digest": transfer.digest if with_names else "",
        "size": transfer.size,
        "sent": transfer.sent_bytes,
        "source": transfer.source,
        "receiver": transfer.receiver,
        "began": transfer.began,
        "ended": transfer.ended,
        "outcome": transfer.outcome if with_names else transfer.outcome.partition(":")[0],
    }


def _examined(found: Examination) -> dict[str, Any]:
    plain = ("state", "since", "reason", "problem", "peers_problem", "content_problem", "is_stranger", "skew")
    back = found.back
    return {
        "address": str(found.address),
        **{name: getattr(found, name) for name in plain},
        "vitals": _vitals(found.report.vitals) if found.report else None,
        "asked_at": found.asked_at,
        "back": back
        and {
            "is_known": back.is_known,
            "peers_problem": back.peers_problem,
            "content_problem": back.content_problem,
        },
    }
