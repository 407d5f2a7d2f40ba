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
from registryd.config.keeping import parse_rules
from registryd.config.name_patterns import require_patterns
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


# Below some eight nodes most stripes have no node that passes them on, and the node at the top sends two copies and
# more: of six real nodes the last had a layer of 60 MB after 3.34 times S/B, and after 1.28 as a whole.
LEAST_STRIPES_FROM = 16
# More nodes than any cluster has: who sets more means "never", which is 0.
_MOST_STRIPES_FROM = 100_000
# A body from several peers gets no less (registryd.transfer.slots).
LEAST_ASSEMBLY_BYTES = 12 << 20


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
    """Address at which the agent answers containerd. Loopback, because only this node's containerd should ask."""

    token_file: Path | None = None
    """File with the token that every request must carry. Empty: the agent asks for no token."""

    next_endpoints: tuple[str, ...] = ()
    """URLs of caches, such as http://cache.example:3172. containerd asks them after the agent and before all other
    mirrors. `registryd install` and agent.configure_containerd write them into containerd's configuration; `registryd
    uninstall` removes them; `registryd talos` prints them."""

    next_ca: Path | None = None
    """Authorities (PEM) by which containerd verifies https caches: a path on the node. Empty: the system's."""

    next_token_file: Path | None = None
    """File with the token that the caches ask for (their cache.token_file). `registryd install` reads the file. Empty:
    no token."""

    default: str = ""
    """Registry of the requests that name no registry, such as docker.io for Docker's classic image store: Docker sends
    its mirrors only the repository. Also used by `registryd cache`. Empty: such requests get a 404."""

    first_byte_timeout: Seconds = 3.0
    """How long a request may wait for its first byte, search and connecting included. After that the agent answers 404
    and containerd asks its next mirror. The default is far above a search, which takes milliseconds, and below the
    time that a person is willing to wait. The node's own containerd has a third of this time for each question: where
    it is so busy that it needs more than a second, make this longer."""

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
    """Which clients may have which content."""

    mode: AuthorizationMode = AuthorizationMode.PUBLIC
    """Which references the agent resolves. public: only images that the upstream gives to anyone. upstream: none, so
    that the upstream checks the credentials of every pull; content still comes from peers. open: all, for air-gapped or
    trusted registries. The default shows private images to nobody without credentials, and works when the upstream
    cannot be reached."""

    registries: Mapping[str, AuthorizationMode] = field(default_factory=dict)
    """Mode of single registries, such as ghcr.io=upstream."""

    exclude: tuple[str, ...] = ()
    """Images that the agent always leaves to the upstream, with all their bytes: patterns of registry/repository:tag,
    such as ghcr.io/acme/*, or *:latest for a tag that moves. An asterisk matches any text, slashes included."""

    hosts_dir: Path | None = None
    """public: folder with the hosts.toml files by which the agent reaches upstreams. Empty: the config_path of this
    node's containerd, so that the agent uses the same mirrors and the same authorities as containerd."""

    public_timeout: Seconds = 2.0
    """public: how long a pull may wait for the upstream to say whether anyone may pull the image. After that the agent
    leaves the pull to the upstream. This time is a part of registry.first_byte_timeout."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "registries", MappingProxyType(dict(self.registries)))
        _require_positive("authorization.public_timeout", self.public_timeout)
        require_patterns("authorization.exclude", self.exclude)

    @property
    def may_lack_origin(self) -> bool:
        """Whether there are registries that may not be there, so that a pull ends where the cluster has nothing."""
        return AuthorizationMode.OPEN in {self.mode, *self.registries.values()}


@dataclass(frozen=True, slots=True)
class ImagesSettings:
    """Rules for single images."""

    block: tuple[str, ...] = ()
    """Images that must not spread: digests, and patterns of registry/repository:tag as in authorization.exclude. The
    agent gives them to no client and no peer, and takes them from no peer. containerd fetches them from the origin."""

    block_file: Path | None = None
    """File with more of images.block, one entry a line. The agent watches the file: a change takes effect within
    seconds. A file that is missing or wrong changes nothing."""

    keep: tuple[str, ...] = ()
    """Images of which the cluster keeps several copies: lines such as "ghcr.io/corp/* copies=3 zones=2", with a pattern
    of registry/repository:tag as in authorization.exclude. Nodes that have them keep them from their kubelets, and
    others pull them when too few have. Give all nodes the same lines. Needs containerd."""

    keep_max_size: ByteCount = 20 << 30
    """How much of such images this node keeps, at most. The default is a fifth of a small node's disk. 0B: nothing."""

    keep_max_disk: int = 80
    """Percent of the disk with containerd's content up to which this node pulls copies, as kubelets reckon it. They
    remove images from 85 % on (imageGCHighThresholdPercent), and stop at 80."""

    keep_delay: Seconds = 300
    """How long copies have to be lacking before another node pulls one, a fifth of it for the last one: longer than a
    node's restart, so that a rolling upgrade makes no copies."""

    keep_docker_config: Path | None = None
    """A config.json of Docker's with logins to pull copies with. What is pulled so may be used by every pod of this
    node, unless its kubelet verifies all images: refused without images.keep_for_every_pod."""

    keep_for_every_pod: bool = False
    """Copies that are pulled with a login may be used by every pod of this node."""

    def __post_init__(self) -> None:
        if not 1 <= self.keep_max_disk <= 100:  # noqa: PLR2004 - percent
            raise SettingsError("images.keep_max_disk", "must be from 1 to 100")
        try:
            parse_rules(self.keep)
        except ValueError as error:
            raise SettingsError("images.keep", str(error)) from error
        if self.keep_docker_config and not self.keep_for_every_pod:
            raise SettingsError(
                "images.keep_docker_config",
                "what is pulled with these logins may be used by every pod of this node; say images.keep_for_every_pod "
                "if that is meant",
            )


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where this node's content is, and what the agent keeps of it."""

    kind: StoreKind = StoreKind.AUTO
    """Store that the agent serves. containerd: containerd's content store. directory: the store in store.directory.
    auto: containerd if store.containerd_socket or registry.token_file is set, `registryd install` has set containerd
    up, or a containerd socket exists; otherwise the directory, until a containerd socket appears."""

    containerd_socket: Path | None = None
    """containerd's gRPC socket. Empty: the socket of the containerd that `registryd install` has set up. Without
    `registryd install`, the first that exists: k3s' and RKE2's, k0s', MicroK8s', /run/containerd/containerd.sock."""

    containerd_root: Path = Path("/var/lib/containerd")
    """containerd's root directory. If the agent can read it, it sends blobs straight from the files; otherwise it reads
    them over gRPC."""

    namespaces: tuple[str, ...] = ("k8s.io",)
    """containerd namespaces whose content is shared. Kubernetes uses k8s.io, ctr default, Docker moby."""

    directory: Path = Path("/var/lib/registryd/store")
    """Root of the directory store, an OCI image layout. Not touched when the store is containerd."""

    keep_layers: ByteCount = 10 << 30
    """Room for layers that containerd would delete after unpacking (discard_unpacked_layers, the default of Talos). The
    agent keeps these layers for peers. The least recently used layers are deleted first, and every layer is deleted
    with its image. The default holds the images of some dozens of deployments, and takes little of a node's
    disk. 0B: the agent keeps no layers."""

    keep_layers_age: Seconds = 168 * 3600
    """How long after its last use the agent keeps a layer. After a week, most nodes that need the layer have it."""

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
    """Address at which peers ask this agent for content (gRPC)."""

    content_listen: Address = PEERS_CONTENT_ADDRESS
    """Address from which peers fetch this node's content (HTTP)."""

    advertise: str = ""
    """Host by which peers reach this agent. Empty: the address that the system would use towards them."""

    secret_file: Path | None = None
    """File with the cluster secret, the same for all agents. Without credentials, the agent answers peers on loopback
    only."""

    tls_cert: Path | None = None
    """This node's own certificate and its intermediates (PEM), in place of a certificate that follows from the cluster
    secret. The agent watches the file."""

    tls_key: Path | None = None
    """Private key of peers.tls_cert (PEM, not encrypted). RSA, ECDSA P-256 or P-384: gRPC accepts no others."""

    tls_ca: Path | None = None
    """Authorities (PEM) whose certificates make a node a member. Use authorities of the cluster's own."""

    tls_name: str = "registryd.peer"
    """DNS name in the certificate of every node. An agent checks this name, and not the address, when it connects to a
    peer."""

    transport: PeerTransport = PeerTransport.TLS
    """tls: bytes between peers are encrypted. plain: bytes are not encrypted, and a ticket authenticates each transfer,
    for networks that encrypt already."""

    insecure: bool = False
    """Anyone who reaches the peers' ports may ask and fetch, unencrypted. For trials and trusted networks."""

    fanout_limit: int = 32
    """Clusters up to this number of peers may query every peer whose content the index node does not fully know. Larger
    clusters query index nodes only."""

    max_uploads: int = 64
    """Number of bodies that the agent sends to peers at a time. Further peers are told "busy" and use another source.
    On a link of 10 Gbit/s each of 64 gets 20 MB a second: with more, all would be slower than most registries."""

    max_upload_rate: ByteCount = 0
    """Bytes a second that the agent sends to all peers together. 0B: no limit. The kernel divides the rate into equal
    shares. The agent says "busy" when another share would be less than 1 MiB a second, so that peers do not take the
    node for a slow one."""

    max_download_rate: ByteCount = 0
    """Bytes a second that the agent takes from all peers together. 0B: no limit. Bytes that containerd fetches from
    registries are not counted: the agent never sees them."""

    find_timeout: Seconds = 1.0
    """How long peers may take to say whether they have a digest. A healthy peer needs milliseconds. This time is a part
    of registry.first_byte_timeout: the rest is left for the fetch."""

    fetch_wait: Seconds = 15.0
    """How long a request may wait while other nodes fetch the same content from the origin and visibly make progress.
    After that this node asks the origin itself. The default is half of the time that containerd 2.3 waits for an
    answer."""

    receive_buffer: ByteCount = 64 << 20
    """Memory for layers that arrive from other nodes before containerd asks for them: containerd asks for a few layers
    at a time, in an order of its own. The default holds a usual image. Bytes beyond it arrive only while containerd
    reads them. 0B: no bytes arrive ahead of containerd."""

    assembly_buffer: ByteCount = 128 << 20
    """Memory for layers that come from several peers at once: 32 MiB a layer, in which the bytes of one peer wait for
    their turn. A layer for which less than 12 MiB is left comes from one peer at a time. 0B: all layers do; otherwise
    at least 12MiB."""

    zone: str = ""
    """Zone of this node, such as its label topology.kubernetes.io/zone. The agent prefers sources in its own zone.
    Empty: the zone that discovery tells (kubernetes: EndpointSlices have the zones of nodes). Where no zone is known,
    all peers are equally near."""

    backoff_min: Seconds = 0.25
    """How long a peer that did not answer is set aside the first time. Each further failure doubles the time. An agent
    that restarts is back within a second, and another question to it costs one packet."""

    backoff_max: Seconds = 60.0
    """Longest time that a peer is set aside. A peer that comes back after an hour is used again within a minute."""

    stripes_from: int = 64
    """Number of nodes that have to want a layer within 0.2 s so that it comes to them in stripes: eight parts, each
    from another node. Then no node's link is idle, and 1,000 nodes get the layer almost as quickly as 10 do. The layer
    must have 16 MiB or more, and the cluster so many nodes; in a cluster of four times as many or more, a quarter of
    the number is enough (but 16 at least). 0: layers always come as a whole; otherwise at least 16,
    because fewer nodes get it as quickly as a whole. 16 and 64 are what was simulated, with up to 1,000 nodes; of real
    nodes 16 were measured, which take as long as without stripes, and 32, which take less (docs/scale.md). The index
    node of a layer decides: set it alike on all."""

    def __post_init__(self) -> None:
        _require_positive("peers.fanout_limit", self.fanout_limit)
        if self.stripes_from and self.stripes_from < LEAST_STRIPES_FROM:
            raise SettingsError("peers.stripes_from", f"must be 0 (never) or at least {LEAST_STRIPES_FROM}")
        if self.stripes_from > _MOST_STRIPES_FROM:
            raise SettingsError("peers.stripes_from", f"must be at most {_MOST_STRIPES_FROM}; 0 is never")
        if 0 < self.assembly_buffer < LEAST_ASSEMBLY_BYTES:
            raise SettingsError("peers.assembly_buffer", "must be 12MiB or more, or 0B for one peer at a time")
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
    """How fast content moves, and when. A change of the file takes effect without a restart."""

    limits: tuple[str, ...] = ()
    """Lines such as "mon-fri 08:00-18:00 upload=20MiB download=50MiB origin=10MiB background=10%". A line has days and
    hours of the node's clock (without them the line always applies), and the values that replace peers.max_upload_rate,
    peers.max_download_rate, cache.max_origin_rate and bandwidth.background. For each value the first line counts that
    applies and has it."""

    file: Path | None = None
    """File with such lines, one limit a line. The file goes before bandwidth.limits. The agent watches the file: a
    change takes effect within seconds, for running transfers too. A file that is missing or wrong changes nothing."""

    background: int = 25
    """Percent of this node's incoming bytes that prefetch and copies may take while a pull is running; at least 1 MiB a
    second. When no pull is running, prefetch and copies may take all."""

    def __post_init__(self) -> None:
        if not 1 <= self.background <= 100:  # noqa: PLR2004 - percent
            raise SettingsError("bandwidth.background", "must be from 1 to 100")
        try:
            parse_limits(self.limits)
        except ValueError as error:
            raise SettingsError("bandwidth.limits", str(error)) from error


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """How the agent finds its peers."""

    kind: DiscoveryKind = DiscoveryKind.STATIC
    """How the agent finds its peers. static: the addresses in discovery.peers. file: the addresses in discovery.file.
    dns: the addresses of discovery.dns_name. kubernetes: the endpoints of registryd's own Service. mdns: the agents
    that announce themselves on the local network."""

    peers: tuple[Address, ...] = ()
    """static: the gRPC addresses of the peers. This node may be among them."""

    file: Path | None = None
    """file: one host:port per line, or a JSON list of them. The agent watches it: a change takes effect at once."""

    dns_name: Address | None = None
    """dns: name and port of the peers, such as a headless Service: registryd.kube-system.svc:3173."""

    interval: Seconds = 10.0
    """dns: time until the agent resolves the name again. The agent learns of a new node within seconds, and a resolver
    bears this rate."""

    service: str = "_registryd._tcp.local."
    """mdns: service type by which agents find each other. Agents with different types form separate clusters."""

    interface: str = ""
    """mdns: IP address of the interface to use. Empty: all interfaces."""

    namespace: str = ""
    """kubernetes: namespace of registryd's Service. Empty: the namespace of this pod."""

    service_name: str = "registryd"
    """kubernetes: name of the headless Service whose endpoints are the peers."""

    port_name: str = "peers"
    """kubernetes: name that the Service gives to the peers' gRPC port."""

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
    """Probes, metrics and the dashboard."""

    listen: Address = ADMIN_ADDRESS
    """Address of /metrics, /livez, /readyz and the dashboard. Loopback, because they show what the node runs."""


@dataclass(frozen=True, slots=True)
class PullsSettings:
    """Systems to which the agent reports each pull, in addition to the log, `/status` and the page. Off by default."""

    events_pod: str = ""
    """namespace/name/uid of this agent's pod: the agent writes a Kubernetes event on the pod for each pull, for
    `kubectl describe pod`; 20 events at once, and one in 30 seconds after that. The agent needs the right to create
    events. The chart sets this (pulls.events)."""

    traces: bool = False
    """Make an OpenTelemetry span of each pull. The span joins containerd's own trace if its requests carry one. Needs
    registryd[otel]; OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP) says where the spans go."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    format: LogFormat = LogFormat.AUTO
    """human: lines for people. json: one object per line. auto: human on a terminal, otherwise json."""

    level: LogLevel = LogLevel.INFO
    """Least severe level that is written. debug includes one line per request."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The agent itself."""

    shutdown_timeout: Seconds = 10.0
    """How long running transfers may go on after SIGTERM. A third of the 30 s that Kubernetes allows by default."""

    configure_containerd: bool = False
    """Make this node's containerd ask this agent first, as `registryd install` does. `registryd uninstall` restores the
    configuration. Off, because registryd changes no configuration unasked."""

    node_name: str = field(default_factory=socket.gethostname)
    """Name of this node in logs and metrics, and for peers. The default is the host name."""

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
