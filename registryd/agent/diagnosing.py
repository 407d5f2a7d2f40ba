"""The parts with which an agent shows how it is, and tries itself out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.agent.overview import AgentOverview, VitalSigns
from registryd.agent.trial import TrialDesk, TrialsToo
from registryd.cluster.assembly import Checkup, DiagnosisService
from registryd.content.pull_log import PullLog
from registryd.content.trial import Trials
from registryd.serving.transfers import Transfers

if TYPE_CHECKING:
    from registryd.agent.bandwidth import Bandwidth
    from registryd.agent.hosts_folders import HostsFolders
    from registryd.agent.savings import Savings
    from registryd.cluster.assembly import Copies, Joining, Node, Zones
    from registryd.config.agent import Settings
    from registryd.identity.credentials import PeerCredentials
    from registryd.observability.metrics import Metrics
    from registryd.oci.digest import Digest
    from registryd.serving.policy import ResolvePolicy
    from registryd.serving.readiness import Readiness
    from registryd.store.choice import NodeStore


class Diagnosing:
    """Made before the doors are, which it watches; the rest when the cluster is there to be examined."""

    def __init__(  # noqa: PLR0913 - the parts that it looks at, all named
        self,
        settings: Settings,
        store: NodeStore,
        *,
        metrics: Metrics,
        readiness: Readiness,
        zones: Zones,
        bandwidth: Bandwidth,
        folders: HostsFolders | None = None,
    ) -> None:
        self.transfers = Transfers()
        self.pulls = PullLog(node=settings.agent.node_name, sees_elsewhere=store.newcomers is not None)
        self.trials = Trials()
        self._desk = TrialDesk(self.trials)
        self._signs = VitalSigns(
            settings,
            store,
            metrics=metrics,
            readiness=readiness,
            transfers=self.transfers,
            zones=zones,
            pulls=self.pulls,
            bandwidth=bandwidth,
            folders=folders,
        )

    @property
    def savings(self) -> Savings:
        return self._signs.savings

    def policy(self, policy: ResolvePolicy) -> TrialsToo:
        return TrialsToo(policy, self._desk)

    def is_of_any_trial(self, digest: Digest) -> bool:
        """Whether the content is of a trial that was begun here lately, or that this node holds for another one."""
        return self._desk.is_content(digest) or self.trials.get(digest) is not None

    def is_trial(self, digest: Digest) -> bool:
        """Whether the content is of a trial that was begun here lately."""
        return self._desk.is_content(digest)

    def service(self, node: Node, joining: Joining, credentials: PeerCredentials) -> DiagnosisService:
        return DiagnosisService(
            node,
            joining.members,
            vitals=self._signs.take,
            view=self._signs.view,
            trials=self.trials,
            credentials=credentials,
        )

    def overview(
        self, node: Node, joining: Joining, credentials: PeerCredentials, copies: Copies | None = None
    ) -> AgentOverview:
        checkup = Checkup(joining.members, credentials, own_address=joining.own_address, content_port=node.content_port)
        return AgentOverview(node, joining.members, signs=self._signs, checkup=checkup, desk=self._desk, copies=copies)
