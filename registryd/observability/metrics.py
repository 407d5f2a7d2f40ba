"""The counters and gauges of an agent, for `/metrics`.

Every label has a fixed set of values, or a bounded one (registries): no repository, digest, peer or client ever becomes
a label, so an agent's series are about as many after a year as on its first day.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum

from registryd.observability.process import add_process_series
from registryd.observability.prometheus import Counter, Gauge, Histogram, MetricsPage
from registryd.version import VERSION

# Seconds. A local hit takes under a millisecond, registry.first_byte_timeout is 3 s, containerd 2.3 gives up at 30 s.
_FIRST_BYTE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Seconds. A search ends with peers.find_timeout, 1 s unless set otherwise, and a moment later.
_FIND_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5)


class Outcome(StrEnum):
    """How a request of containerd ended.

    `miss` is the 404 that sends containerd on; `put_off`: containerd asks again, when it has begun to fetch something
    else.
    """

    LOCAL = "local"
    PEER = "peer"
    UPSTREAM = "upstream"
    MISS = "miss"
    PUT_OFF = "put_off"
    ERROR = "error"


class ContentKind(StrEnum):
    """The kind of the requested content."""

    MANIFEST = "manifest"
    BLOB = "blob"
    LIST = "list"


class Method(StrEnum):
    """How it was asked for; the registry knows no others."""

    GET = "GET"
    HEAD = "HEAD"


class Source(StrEnum):
    """Where the bytes came from that containerd was sent."""

    LOCAL = "local"
    PEER = "peer"
    UPSTREAM = "upstream"


class Nearness(StrEnum):
    """Whether a peer is in this node's zone; `unknown` where one of the two zones is not known."""

    SAME_ZONE = "same"
    OTHER_ZONE = "other"
    UNKNOWN = "unknown"


class PulledFrom(StrEnum):
    """Where content came from that this node's containerd got, by this agent or without it."""

    LOCAL = "local"
    PEER = "peer"
    UPSTREAM = "upstream"
    ELSEWHERE = "elsewhere"


# A node's images are from a few registries; a process of the node can make up as many names as it likes.
MOST_REGISTRIES = 20


class FindOutcome(StrEnum):
    """How a search among the peers ended; `timeout` is a miss for which some peer had not answered in time.

    `unasked`: no peer was asked, because the digest's index node knows that no node has the content.
    """

    FOUND = "found"
    ABSENT = "absent"
    UNASKED = "unasked"
    TIMEOUT = "timeout"
    ERROR = "error"


class CopyState(StrEnum):
    """Whether enough nodes keep an image; unknown before the first look, alone: no other node does."""

    UNKNOWN = "unknown"
    ENOUGH = "enough"
    FEW = "few"
    ALONE = "alone"


class PeerState(StrEnum):
    """Whether a peer is asked, or left alone for a while because it did not answer."""

    AVAILABLE = "available"
    SET_ASIDE = "set_aside"


class PeerTrouble(StrEnum):
    """The trouble with a peer, in the words that users read everywhere: page, `status`, metrics, log."""

    REFUSED = "refused"
    """The host is there, and nobody listens."""
    NO_ANSWER = "no answer"
    """Silence: the host is gone, the process hangs, or a firewall drops."""
    NO_ROUTE = "no route"
    NO_ADDRESS = "its name is not found"
    HUNG_UP = "hung up"
    """The connection was closed or reset; a member does so when it does not take our certificate."""
    OTHER_SECRET = "another secret"  # noqa: S105 - that it is another one is no secret
    CLOCK = "clock"
    """Certificates live for hours: one of the two clocks is wrong by that much."""
    NO_TLS = "no TLS"
    GARBLED = "nonsense"
    """What it says is no valid answer."""


class Metrics:
    """The metrics of one agent, on a page of their own; all methods are cheap and none can fail."""

    __slots__ = (
        "_copies",
        "_copy_bytes",
        "_count_images",
        "_elsewhere",
        "_find_seconds",
        "_first_byte_seconds",
        "_page",
        "_peers",
        "_peers_insecure",
        "_pulled",
        "_pulled_family",
        "_received_from_peers",
        "_registries",
        "_requests",
        "_sent_bytes",
        "_sent_to_peers",
        "_store_up",
        "_troubles",
    )

    def __init__(self) -> None:
        self._page = MetricsPage()
        add_process_series(self._page)
        self._build_info()
        self._count_tasks()
        self._requests = self._request_counters()
        self._sent_bytes = self._sent_byte_counters()
        self._sent_to_peers = self._sent_to_peer_counters()
        text = "Bytes of content received from peers."
        self._received_from_peers = self._page.counter("registryd_peer_received_bytes_total", text)
        text = "Bytes of content that containerd got without this agent."
        self._elsewhere = self._page.counter("registryd_elsewhere_bytes_total", text)
        text = "Bytes of content that containerd got, by source and by the registry of the content."
        self._pulled_family = self._page.counters("registryd_pulled_bytes_total", text, "source", "registry")
        self._pulled: dict[tuple[PulledFrom, str], Counter] = {}
        self._registries: set[str] = set()
        for source in PulledFrom:
            self.pulled(0, source=source, registry="")
        self._first_byte_seconds = self._first_byte_histograms()
        self._find_seconds = self._find_histograms()
        self._peers = self._peer_gauges()
        self._copies = self._copy_gauges()
        self._copy_bytes = self._page.gauge(
            "registryd_copy_bytes", "Bytes of images that this node keeps for the cluster."
        )
        self._troubles = self._trouble_gauges()
        self._count_images: Callable[[], int] = int
        text = "Images in the store, by their digests: an image with several names counts once."
        self._page.read("registryd_images", text, self._images_now)
        self._store_up = self._page.gauge("registryd_store_up", "1: the store answers. 0: it does not.")
        text = "1: anyone who reaches the peers' ports may fetch (peers.insecure). 0: only members may."
        self._peers_insecure = self._page.gauge("registryd_peers_insecure", text)

    @property
    def page(self) -> MetricsPage:
        """Where subsystems that only some agents have add their own series."""
        return self._page

    def follow_images(self, count: Callable[[], int]) -> None:
        """Say from now on as many images as `count` returns; before, there are none."""
        self._count_images = count

    def _images_now(self) -> int:
        return self._count_images()

    # Recording

    def request(self, outcome: Outcome, *, kind: ContentKind, method: Method) -> None:
        """A request of containerd has been answered."""
        self._requests[outcome, kind, method].inc()

    def first_byte(self, seconds: float, *, outcome: Outcome) -> None:
        """The answer to a request began, so long after the request."""
        self._first_byte_seconds[outcome].observe(seconds)

    def sent(self, count: int, *, source: Source) -> None:
        """So many bytes of content went to containerd."""
        self._sent_bytes[source].inc(count)

    def elsewhere(self, count: int) -> None:
        """Containerd got so many bytes of content without this agent."""
        self._elsewhere.inc(count)

    def pulled(self, count: int, *, source: PulledFrom, registry: str) -> None:
        """So many bytes of content of a registry came to containerd; empty: it is not known whose they are."""
        label = registry or "unknown"
        if registry and label not in self._registries:
            if len(self._registries) >= MOST_REGISTRIES:
                label = "other"
            self._registries.add(label)
        key = (source, label)
        if key not in self._pulled:
            self._pulled[key] = self._pulled_family.labels(source, label)
        self._pulled[key].inc(count)

    def received_from_peer(self, count: int) -> None:
        """So many bytes of content came from a peer."""
        self._received_from_peers.inc(count)

    def sent_to_peer(self, count: int, *, nearness: Nearness = Nearness.UNKNOWN) -> None:
        """So many bytes of content went to a peer."""
        self._sent_to_peers[nearness].inc(count)

    def find(self, seconds: float, *, outcome: FindOutcome) -> None:
        """A search among the peers ended, so long after it began."""
        self._find_seconds[outcome].observe(seconds)

    def peers(self, counts: Mapping[PeerState, int], troubles: Mapping[PeerTrouble, int] | None = None) -> None:
        """There are now so many peers in each state, and so many set aside for each trouble; the others have none."""
        for state, gauge in self._peers.items():
            gauge.set(counts.get(state, 0))
        for trouble, gauge in self._troubles.items():
            gauge.set((troubles or {}).get(trouble, 0))

    def copies(self, states: Mapping[CopyState, int], kept_bytes: int) -> None:
        """Of the images that this node keeps for the cluster, there are now so many in each state; and their bytes."""
        for state, gauge in self._copies.items():
            gauge.set(states.get(state, 0))
        self._copy_bytes.set(kept_bytes)

    def store_up(self, *, up: bool) -> None:
        """The store answers now, or does not."""
        self._store_up.set(up)

    def peers_insecure(self, *, insecure: bool) -> None:
        """Whoever reaches the peers' ports may fetch, or only members may."""
        self._peers_insecure.set(insecure)

    # Showing

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, `CONTENT_TYPE`."""
        return self._page.render()

    # Building. Each series exists from the start, at zero: a rate over one that appears with its first event misses it.

    def _build_info(self) -> None:
        info = self._page.gauges("registryd_build_info", "Constant 1; the version is a label.", "version")
        info.labels(VERSION).set(1)

    def _count_tasks(self) -> None:
        self._page.read("registryd_tasks", "Asyncio tasks. Each idle connection has one.", _running_tasks)

    def _request_counters(self) -> Mapping[tuple[Outcome, ContentKind, Method], Counter]:
        labels = ("outcome", "kind", "method")
        family = self._page.counters("registryd_requests_total", "Requests of containerd, by their outcome.", *labels)
        return {
            (outcome, kind, method): family.labels(outcome, kind, method)
            for outcome in Outcome
            for kind in ContentKind
            for method in Method
        }

    def _sent_byte_counters(self) -> Mapping[Source, Counter]:
        text = "Bytes of content sent to containerd, by source."
        family = self._page.counters("registryd_sent_bytes_total", text, "source")
        return {source: family.labels(source) for source in Source}

    def _sent_to_peer_counters(self) -> Mapping[Nearness, Counter]:
        text = "Bytes of content sent to peers, by whether the peer is in this node's zone."
        family = self._page.counters("registryd_peer_sent_bytes_total", text, "zone")
        return {nearness: family.labels(nearness) for nearness in Nearness}

    def _first_byte_histograms(self) -> Mapping[Outcome, Histogram]:
        text = "Time from a request of containerd to the first byte of its answer."
        family = self._page.histograms("registryd_first_byte_seconds", text, "outcome", bounds=_FIRST_BYTE_BUCKETS)
        return {outcome: family.labels(outcome) for outcome in Outcome}

    def _find_histograms(self) -> Mapping[FindOutcome, Histogram]:
        text = "Time that a search for content among the peers took."
        family = self._page.histograms("registryd_find_seconds", text, "outcome", bounds=_FIND_BUCKETS)
        return {outcome: family.labels(outcome) for outcome in FindOutcome}

    def _trouble_gauges(self) -> Mapping[PeerTrouble, Gauge]:
        family = self._page.gauges("registryd_peers_set_aside", "Peers that are set aside, by reason.", "reason")
        return {trouble: family.labels(trouble) for trouble in PeerTrouble}

    def _copy_gauges(self) -> Mapping[CopyState, Gauge]:
        text = "Images that this node keeps for the cluster, by whether enough nodes do; alone: no other one does."
        family = self._page.gauges("registryd_copies", text, "state")
        return {state: family.labels(state) for state in CopyState}

    def _peer_gauges(self) -> Mapping[PeerState, Gauge]:
        family = self._page.gauges("registryd_peers", "Peers that discovery knows, by state.", "state")
        return {state: family.labels(state) for state in PeerState}


def _running_tasks() -> float:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # read outside of the event loop
        return 0
