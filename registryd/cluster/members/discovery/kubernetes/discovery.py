"""Discovery `kubernetes`: the peers are the pods behind a headless service."""

from __future__ import annotations

import os
import re
from contextlib import AbstractAsyncContextManager, aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff
from registryd.cluster.members.discovery.contract import Discovery
from registryd.cluster.members.discovery.kubernetes.account import ServiceAccount
from registryd.cluster.members.discovery.kubernetes.api import Service, open_api
from registryd.cluster.members.discovery.kubernetes.following import SliceFollower
from registryd.cluster.members.discovery.kubernetes.settling import settled
from registryd.cluster.members.discovery.kubernetes.slices import choose_peers
from registryd.cluster.members.discovery.trouble import DiscoveryTrouble

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from registryd.cluster.members.discovery.kubernetes.api import SliceApi
    from registryd.cluster.members.discovery.kubernetes.slices import IpVersion, PodLocation
    from registryd.notation import Address

    OpenApi = Callable[[], AbstractAsyncContextManager[SliceApi]]

# client-go's reflector pauses from 0.8 to 30 s. Half of a pause is left to chance: after an outage of the API server
# every node of the cluster comes back to it.
BACKOFF: Final = Backoff(first=1.0, longest=30.0, jitter=0.5)
# The controller writes a change of several slices as several updates. A new node is not missed for half a second.
SETTLE_SECONDS: Final = 0.5
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}", re.ASCII)


class KubernetesDiscovery(Discovery):
    """The endpoints that the API server lists for the agents' service; while it is away, the last listed ones.

    Pods with addresses in both families are peers at the one of the preferred family.
    """

    def __init__(self, open_slice_api: OpenApi, *, subject: str, prefer: IpVersion, backoff: Backoff = BACKOFF) -> None:
        """`subject` is what log lines call the service."""
        self._open_slice_api = open_slice_api
        self._prefer = prefer
        self._backoff = backoff
        self._trouble = DiscoveryTrouble(subject)
        self._places: Mapping[Address, PodLocation] = MappingProxyType({})
        self._zones: Mapping[str, str] = {}

    @property
    def places(self) -> Mapping[Address, PodLocation]:
        """Node and zone of every peer, as of now; not less than what `watch` yielded last."""
        return self._places

    def zone_of(self, host: str) -> str:
        """As its EndpointSlice has it: the node's topology.kubernetes.io/zone. Empty for what cannot be a label."""
        return self._zones.get(host, "")

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        shown: frozenset[Address] | None = None
        async with self._open_slice_api() as api:
            follower = SliceFollower(api, backoff=self._backoff, trouble=self._trouble)
            async with (
                aclosing(follower.changes()) as changes,
                aclosing(settled(changes, seconds=SETTLE_SECONDS)) as pictures,
            ):
                async for slices in pictures:
                    self._places = MappingProxyType(choose_peers(slices, prefer=self._prefer))
                    zones = {address.host: place.zone for address, place in self._places.items()}
                    self._zones = {host: zone for host, zone in zones.items() if _LABEL_VALUE.fullmatch(zone)}
                    peers = frozenset(self._places)
                    if peers != shown:
                        shown = peers
                        yield peers


def discovery_in_cluster(
    *,
    namespace: str,
    service_name: str,
    port_name: str,
    advertise: str,
    environment: Mapping[str, str] = os.environ,
) -> KubernetesDiscovery:
    """Discovery by this pod's service account. Raises NotInCluster.

    An empty namespace is the pod's own. Peers with two addresses are reached in the family of `advertise`, which the
    chart sets to the node's primary address.
    """
    account = ServiceAccount.of_this_pod(environment)
    service = Service(namespace or account.namespace(), service_name, port_name)
    return KubernetesDiscovery(
        lambda: open_api(account, service),
        subject=f"endpoints of {service.namespace}/{service.name}",
        prefer=6 if ":" in advertise else 4,
    )
