"""Every setting of registryd: one frozen dataclass per subsystem, validated when made.

A field is the flag `--<section>.<field>`, the variable `REGISTRYD_<SECTION>_<FIELD>` and a key of the TOML file.
The text under a field is its `--help`: what it does, its unit, and why the default is what it is.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from registryd.config.bandwidth import LEAST_RATE, parse_limits
from registryd.config.cache import CacheSettings, UpstreamsSettings
from registryd.failures import SettingsError as SettingsError  # noqa: PLC0414 - it belongs to the settings' vocabulary
from registryd.notation import Address, ByteCount, Seconds, is_endpoint, is_registry

REGISTRY_ADDRESS = Address("127.0.0.1", 3172)
PEERS_ADDRESS = Address("0.0.0.0", 3173)  # noqa: S104 - peers are on other machines
PEERS_CONTENT_ADDRESS = Address("0.0.0.0", 3174)  # noqa: S104
ADMIN_ADDRESS = Address("127.0.0.1", 3175)

# RFC 6763 section 7; names of services have up to 15 letters, digits and single hyphens (RFC 6335 section 5.1).
_SERVICE_TYPE = re.compile(r"_(?=.{1,15}\.)(?=.*[A-Za-z].*\._)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\._(?:tcp|udp)\.local\.")


class AuthorizationMode(StrEnum):
    """Who decides that a client may resolve a manifest."""

    PUBLIC = "public"
    UPSTREAM = "upstream"
    OPEN = "open"


class StoreKind(StrEnum):
    """Where this node's content is."""

    AUTO = "auto"
    CONTAINERD = "containerd"
    DIRECTORY = "directory"


class PeerTransport(StrEnum):
    """How bytes travel between peers."""

    TLS = "tls"
    PLAIN = "plain"


class DiscoveryKind(StrEnum):
    """Where the list of peers comes from."""

    STATIC = "static"
    FILE = "file"
    DNS = "dns"
    KUBERNETES = "kubernetes"
    MDNS = "mdns"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The local registry that containerd asks."""

    listen: Address = REGISTRY_ADDRESS
    """Where containerd's requests are answered. Loopback, because only this node's containerd should ask."""

    token_file: Path | None = None
    """File with the token that every request must carry. Empty: none is asked for."""

    next_endpoints: tuple[str, ...] = ()
    """URLs of caches, such as http://cache.example:3172, that containerd asks after us and before whatever it asks so
    far. Written by install and agent.configure_containerd, which uninstall takes back, and printed by talos."""

    next_ca: Path | None = None
    """Authorities (PEM) by which containerd knows caches that are https, a path of the node. Empty: the system's."""

    next_token_file: Path | None = None
    """File with the token that caches ask for (cache.token_file there); read where install runs. Empty: none."""

    default: str = ""
    """The registry of requests that name none, such as docker.io for Docker's classic image store, whose mirrors are
    asked by a repository alone. Holds for `registryd cache` as well. Empty: such requests get a 404."""

    first_byte_timeout: Seconds = 3.0
    """How long a request may wait for its first byte, search and connecting included, before containerd is sent on
    with a 404. Below the patience of a person and far above a search, which takes milliseconds."""

    def __post_init__(self) -> None:
        _require_positive("registry.first_byte_timeout", self.first_byte_timeout)
        if self.default and not is_registry(self.default):
            raise SettingsError("registry.default", f"{self.default[:80]!r} is not a registry: host or host:port")
        for url in self.next_endpoints:
            if not is_endpoint(url):
                raise SettingsError("registry.next_endpoints", f"{url[:100]!r} is not http(s)://host[:port]")
            if self.next_ca and not url.startswith("https://"):
                # containerd would try TLS on it.
                raise SettingsError("registry.next_ca", f"is for https, which {url[:100]} is not")


@dataclass(frozen=True, slots=True)
class AuthorizationSettings:
    """Who may have which content."""

    mode: AuthorizationMode = AuthorizationMode.PUBLIC
    """public: resolve only what the upstream gives to anyone. upstream: never resolve, so that the upstream checks
    every pull's credentials; content still comes from peers. open: answer everything, for air-gapped or trusted
    registries. The default gives nobody what they may not have and still works when the upstream is away."""

    registries: Mapping[str, AuthorizationMode] = field(default_factory=dict)
    """Mode of single registries, such as ghcr.io=upstream."""

    exclude: tuple[str, ...] = ()
    """Images that are always left to the upstream, bytes too: patterns of registry/repository:tag, such as
    ghcr.io/acme/*, or *:latest for a tag that moves. An asterisk stands for anything, slashes included."""

    hosts_dir: Path | None = None
    """public: the folder whose hosts.toml files say where upstreams are asked. Empty: containerd's own config_path, so
    that they are asked as this node's containerd asks them: through the same mirrors, with the same authorities."""

    public_timeout: Seconds = 2.0
    """public: how long a pull may wait until the upstream has said what anyone may pull; then this node leaves the pull
    to it. A part of registry.first_byte_timeout."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "registries", MappingProxyType(dict(self.registries)))
        _require_positive("authorization.public_timeout", self.public_timeout)

    @property
    def may_lack_origin(self) -> bool:
        """Whether there are registries that may not be there, so that a pull ends where the cluster has nothing."""
        return AuthorizationMode.OPEN in {self.mode, *self.registries.values()}


@dataclass(frozen=True, slots=True)
class ImagesSettings:
    """What single images are to be treated like."""

    block: tuple[str, ...] = ()
    """What must not spread: digests, and patterns of registry/repository:tag as in authorization.exclude. This agent
    gives it to nobody, peers included, and takes it from no peer; containerd goes to the origin for it."""

    block_file: Path | None = None
    """The same, one to a line, in a file that is watched: a change takes effect within seconds. A file that is missing
    or wrong changes nothing."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """This node's content."""

    kind: StoreKind = StoreKind.AUTO
    """auto: containerd where a socket, a node's token or `registryd install` says that there is one, or its socket is
    there; else the directory, until the socket of a containerd is there."""

    containerd_socket: Path | None = None
    """containerd's gRPC socket. Empty: that of the containerd that `registryd install` has set up, else the first that
    is there of k3s' and RKE2's, k0s', MicroK8s' and /run/containerd/containerd.sock."""

    containerd_root: Path = Path("/var/lib/containerd")
    """containerd's root directory. Blobs are sent straight from its files if it is readable, over gRPC otherwise."""

    namespaces: tuple[str, ...] = ("k8s.io",)
    """containerd namespaces whose content is shared. Kubernetes uses k8s.io, ctr default, Docker moby."""

    directory: Path = Path("/var/lib/registryd/store")
    """Root of the directory store, an OCI image layout. Not touched when the store is containerd."""

    keep_layers: ByteCount = 10 << 30
    """How much of the layers that containerd would throw away after unpacking (discard_unpacked_layers, the default of
    Talos) is kept for peers, least recently used first out; they go with their image in any case. The default holds the
    images of some dozens of deployments, and little of a node's disk. 0B: nothing is kept."""

    keep_layers_age: Seconds = 168 * 3600
    """For how long after the last use a layer is kept. A week: after that most nodes that will ever want it have it."""

    def __post_init__(self) -> None:
        # containerd's own grammar of namespaces (pkg/identifiers): they become metadata and path components.
        for name in self.namespaces:
            if not re.fullmatch(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", name):
                raise SettingsError("store.namespaces", f"{name!r} is not a containerd namespace")
        if not self.namespaces:
            raise SettingsError("store.namespaces", "name at least one containerd namespace")


@dataclass(frozen=True, slots=True)
class PeersSettings:
    """How nodes reach each other."""

    listen: Address = PEERS_ADDRESS
    """Where peers ask this node what it has (gRPC)."""

    content_listen: Address = PEERS_CONTENT_ADDRESS
    """Where peers fetch bytes from this node (HTTP)."""

    advertise: str = ""
    """Host under which peers reach this node. Empty: the address that the system would use towards them."""

    secret_file: Path | None = None
    """File with the cluster secret that all agents share. Without one, peers listen on loopback only."""

    tls_cert: Path | None = None
    """This node's own certificate and its intermediates (PEM), instead of one that follows from the secret. Watched."""

    tls_key: Path | None = None
    """Its private key (PEM, not encrypted). RSA, ECDSA P-256 or P-384: gRPC accepts no others."""

    tls_ca: Path | None = None
    """The authorities (PEM) whose certificates make a member. Give the cluster some of its own."""

    tls_name: str = "registryd.peer"
    """The DNS name that every node's own certificate carries; checked when connecting to a peer, not its address."""

    transport: PeerTransport = PeerTransport.TLS
    """tls: bytes between peers are encrypted. plain: a ticket authenticates them, for networks that encrypt already."""

    insecure: bool = False
    """Let anyone who reaches the peers' ports ask and fetch, unencrypted. For trials and trusted networks."""

    fanout_limit: int = 32
    """Up to this many peers all may be asked for a digest: those of which its index node does not know all that they
    have. In a larger cluster only index nodes are."""

    max_uploads: int = 64
    """Bodies that are sent to peers at once. Whoever would be one too many is told "busy" and goes elsewhere. On a link
    of 10 Gbit/s each of 64 gets 20 MB a second: with more, all would be slower than most registries."""

    max_upload_rate: ByteCount = 0
    """Bytes a second for all that is sent to peers together, kept by the kernel in equal shares; 0B: no limit. The node
    is busy when another share would be less than 1 MiB a second, so that nobody takes it for a slow one."""

    max_download_rate: ByteCount = 0
    """Bytes a second for all that is taken from peers together; 0B: no limit. What containerd fetches from registries
    itself is not in it: this agent never sees that."""

    find_timeout: Seconds = 1.0
    """How long peers may take to say whether they have a digest. A healthy peer needs milliseconds; a part of
    registry.first_byte_timeout, so that time is left to fetch."""

    fetch_wait: Seconds = 15.0
    """How long a request may wait for other nodes that are fetching the same content from the origin, as long as they
    are visibly at work. Half of what containerd 2.3 waits for an answer; then this node asks the origin itself."""

    receive_buffer: ByteCount = 64 << 20
    """How much of the layers that come from other nodes may be kept in memory until containerd asks for them: it asks
    for a few at a time, in an order of its own. The default holds a usual image; more than this arrives only while
    containerd takes it. 0B: nothing is taken in ahead."""

    assembly_buffer: ByteCount = 128 << 20
    """How much memory the layers may take that are got from several peers at once: 32 MiB each, so that what one peer
    gives can wait for its turn. Those for which less than 12 MiB is left come from one peer at a time. 0B: all do."""

    zone: str = ""
    """The zone of this node, such as its topology.kubernetes.io/zone: nodes of the same one are preferred as sources.
    Empty: what discovery is told (kubernetes: EndpointSlices have the zone of nodes), or not known, and all are equally
    near."""

    backoff_min: Seconds = 0.25
    """How long a peer that did not answer is set aside the first time; doubled with each further failure. An agent
    that restarts is back within a second, and asking it again costs one packet."""

    backoff_max: Seconds = 60.0
    """The longest that a peer is set aside: an hour-long outage is over for us a minute after it ends."""

    def __post_init__(self) -> None:
        _require_positive("peers.fanout_limit", self.fanout_limit)
        _require_positive("peers.max_uploads", self.max_uploads)
        _require_positive("peers.find_timeout", self.find_timeout)
        _require_positive("peers.fetch_wait", self.fetch_wait)
        if self.advertise and not _is_host(self.advertise):
            raise SettingsError("peers.advertise", "must be a name or an address, without a port")
        for name, rate in (("max_upload_rate", self.max_upload_rate), ("max_download_rate", self.max_download_rate)):
            if 0 < rate < LEAST_RATE:
                raise SettingsError(f"peers.{name}", "must be 1MiB or more, or 0B for no limit")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{0,63}", self.zone):
            raise SettingsError("peers.zone", f"{self.zone[:100]!r} is not the value of a label of Kubernetes")
        _require_positive("peers.backoff_min", self.backoff_min)
        if self.backoff_max < self.backoff_min:
            raise SettingsError("peers.backoff_max", "must not be less than peers.backoff_min")

    @property
    def has_credentials(self) -> bool:
        """Whether members prove that they are."""
        return bool(self.secret_file or self.tls_cert)


@dataclass(frozen=True, slots=True)
class BandwidthSettings:
    """How much is moved when, and for whom. Lines and file may change the three rates without a restart."""

    limits: tuple[str, ...] = ()
    """Lines such as "mon-fri 08:00-18:00 upload=20MiB download=50MiB origin=10MiB background=10%": days and hours (of
    the node's own clock; without them, always) and what counts then in place of peers.max_upload_rate,
    peers.max_download_rate, cache.max_origin_rate and bandwidth.background. The first line that applies counts."""

    file: Path | None = None
    """The same, one to a line, in a file that is watched and goes before bandwidth.limits: a change counts within
    seconds, for bodies that are on their way as well. A file that is missing or wrong changes nothing."""

    background: int = 25
    """Percent of what comes to this node that prefetch and copies may be while a pull is under way; 1 MiB a second at
    least. When nothing is pulled they may have all of it."""

    def __post_init__(self) -> None:
        if not 1 <= self.background <= 100:  # noqa: PLR2004 - percent
            raise SettingsError("bandwidth.background", "must be from 1 to 100")
        try:
            parse_limits(self.limits)
        except ValueError as error:
            raise SettingsError("bandwidth.limits", str(error)) from error


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Who the peers are."""

    kind: DiscoveryKind = DiscoveryKind.STATIC
    """static: those in discovery.peers. file: those in discovery.file. dns: the addresses of discovery.dns_name.
    kubernetes: the endpoints of our own service. mdns: whoever announces itself on the local network."""

    peers: tuple[Address, ...] = ()
    """static: the gRPC addresses of the peers; this node itself may be among them."""

    file: Path | None = None
    """file: one host:port per line, or a JSON list of them. Watched: a change takes effect at once."""

    dns_name: Address | None = None
    """dns: name and port of the peers, such as a headless service: registryd.kube-system.svc:3173."""

    interval: Seconds = 10.0
    """dns: how long until the name is resolved again. A new node matters within seconds; a resolver bears this."""

    service: str = "_registryd._tcp.local."
    """mdns: the service type under which agents find each other; different ones make separate clusters."""

    interface: str = ""
    """mdns: the address of the interface to use. Empty: all interfaces."""

    namespace: str = ""
    """kubernetes: the namespace of our service. Empty: that of this pod."""

    service_name: str = "registryd"
    """kubernetes: the headless service whose endpoints are the peers."""

    port_name: str = "peers"
    """kubernetes: what the service calls the port of the peers' gRPC."""

    def __post_init__(self) -> None:
        _require_positive("discovery.interval", self.interval)
        if not _SERVICE_TYPE.fullmatch(self.service):
            raise SettingsError("discovery.service", "must be a service type such as _registryd._tcp.local.")
        if self.interface and not _is_ip(self.interface):
            raise SettingsError("discovery.interface", "must be the IP address of an interface")
        # Names of Kubernetes (RFC 1123 labels): they become part of a path, where nothing else may get in.
        for name in ("namespace", "service_name", "port_name"):
            value: str = getattr(self, name)
            if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", value) and (value or name != "namespace"):
                raise SettingsError(f"discovery.{name}", f"{value[:100]!r} is not a name of Kubernetes")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Probes and metrics."""

    listen: Address = ADMIN_ADDRESS
    """Where /metrics, /livez, /readyz and the dashboard are. Loopback, because they tell what the node runs."""


@dataclass(frozen=True, slots=True)
class PullsSettings:
    """Who is told of each pull besides the log, `/status` and the page. Nobody, unless asked for."""

    events_pod: str = ""
    """namespace/name/uid of this agent's pod: each pull is a Kubernetes event on it, for `kubectl describe pod`; 20 at
    once, and one in 30 seconds after that. Needs the right to create events. The chart sets it (pulls.events)."""

    traces: bool = False
    """Make a span of OpenTelemetry of each pull, which joins containerd's own trace where its requests carry one. Needs
    registryd[otel]; where to is said by OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP)."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    format: LogFormat = LogFormat.AUTO
    """human: lines for people. json: one object per line. auto: human on a terminal, else json."""

    level: LogLevel = LogLevel.INFO
    """The least severe lines to write. debug includes one line per request."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The agent itself."""

    shutdown_timeout: Seconds = 10.0
    """How long running transfers may go on after SIGTERM. A third of the 30 s that Kubernetes allows by default."""

    configure_containerd: bool = False
    """Make this node's containerd ask this agent first, as `registryd install` does; `registryd uninstall` takes it
    back. Off, because nobody's configuration is changed unasked."""

    node_name: str = field(default_factory=socket.gethostname)
    """What this node is called in logs and metrics, and towards peers. The default is the host's name."""

    def __post_init__(self) -> None:
        _require_positive("agent.shutdown_timeout", self.shutdown_timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of them. Each is valid by itself; `check` looks at how they go together."""

    registry: RegistrySettings = field(default_factory=RegistrySettings)
    authorization: AuthorizationSettings = field(default_factory=AuthorizationSettings)
    images: ImagesSettings = field(default_factory=ImagesSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    peers: PeersSettings = field(default_factory=PeersSettings)
    bandwidth: BandwidthSettings = field(default_factory=BandwidthSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    pulls: PullsSettings = field(default_factory=PullsSettings)
    log: LogSettings = field(default_factory=LogSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    upstreams: UpstreamsSettings = field(default_factory=UpstreamsSettings)


def check(settings: Settings) -> None:
    """Refuse settings that an agent could not keep its promises with; raises `SettingsError`."""
    check_member(settings)
    _check_registry(settings.registry, settings.peers)


def check_member(settings: Settings) -> None:
    """As `check`, of what an agent and a cache that is a member have in common."""
    _check_discovery(settings.discovery)
    peers = settings.peers
    _check_credentials(peers)
    if peers.insecure or peers.has_credentials:
        return
    for name, address in (("listen", peers.listen), ("content_listen", peers.content_listen)):
        if not address.is_loopback:
            raise SettingsError(
                f"peers.{name}",
                f"{address} is open to the network, where anyone could fetch this node's images; set peers.secret_file "
                "(`registryd secret new` prints one) or peers.tls_cert, tls_key and tls_ca, or listen on 127.0.0.1; "
                "peers.insecure = true lets anyone in",
            )


def _check_registry(registry: RegistrySettings, peers: PeersSettings) -> None:
    if not (registry.listen.is_loopback or registry.token_file or peers.insecure):
        raise SettingsError(
            "registry.listen",
            f"{registry.listen} is open to the network, where anyone could pull what the cluster has; listen on "
            "127.0.0.1, or set registry.token_file; peers.insecure = true lets anyone in",
        )


def _check_credentials(peers: PeersSettings) -> None:
    if len({bool(peers.tls_cert), bool(peers.tls_key), bool(peers.tls_ca)}) > 1:
        raise SettingsError("peers.tls_cert", "give tls_cert, tls_key and tls_ca together, or none of them")
    if peers.secret_file and peers.tls_cert:
        raise SettingsError("peers.secret_file", "either the cluster secret or own certificates, not both")
    if peers.insecure and peers.has_credentials:
        raise SettingsError("peers.insecure", "would be ignored beside a secret or certificates; remove one")


def _check_discovery(discovery: DiscoverySettings) -> None:
    if discovery.kind is DiscoveryKind.FILE and not discovery.file:
        raise SettingsError("discovery.file", "must name a file, because discovery.kind is file")
    if discovery.kind is DiscoveryKind.DNS and not discovery.dns_name:
        raise SettingsError("discovery.dns_name", "must be name:port, because discovery.kind is dns")


def _is_host(text: str) -> bool:
    try:
        Address(text, 0)
    except ValueError:
        return False
    return True


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _require_positive(key: str, value: float) -> None:
    if not value > 0:
        raise SettingsError(key, "must be more than 0")
