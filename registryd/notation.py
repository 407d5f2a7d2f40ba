"""How values are written in flags, environment, files and help: durations, sizes, addresses, counts.

Parsers raise `ValueError`; who calls them knows the key and says what would have been accepted.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

_DURATION = re.compile(
    r"(?:(?P<h>[0-9]+(?:\.[0-9]+)?)h)?"
    r"(?:(?P<m>[0-9]+(?:\.[0-9]+)?)m(?!s))?"
    r"(?:(?P<s>[0-9]+(?:\.[0-9]+)?)s)?"
    r"(?:(?P<ms>[0-9]+(?:\.[0-9]+)?)ms)?",
)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_SIZE = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>B|[KMGT]i?B)")
_BYTES: dict[str, int] = {"B": 1}
_BYTES |= {f"{prefix}B": 10 ** (3 * power) for power, prefix in enumerate("KMGT", 1)}
_BYTES |= {f"{prefix}iB": 1 << (10 * power) for power, prefix in enumerate("KMGT", 1)}

# A DNS name, an IPv4 address or a name as /etc/hosts has it; underscores occur in Docker's names.
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_HIGHEST_PORT = 65535

# distribution/reference, in lower case: labels of DNS or an IPv6 address in brackets, and perhaps a port.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_REGISTRY = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?|\[(?P<ipv6>[0-9a-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII
)
# Of HTTPS, which is what containerd speaks to a registry that nothing else is configured for. Port 80 is none: to a
# registry called `host:80` it speaks TLS at port 80, unless it is told otherwise or the host is this machine.
_REGISTRY_PORT = 443
# A repository's name, its registry included, has at most so many characters (distribution/reference).
LONGEST_NAME = 255

# An agent and a cache are asked by ns= below /v2, so their URLs have no path.
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name, IPv4 or IPv6 without brackets) and a TCP port; port 0 asks the system for a free one."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not (_HOST_NAME.fullmatch(self.host) or _is_ipv6(self.host)):
            raise ValueError(f"{self.host!r} is not a host")
        if not 0 <= self.port <= _HIGHEST_PORT:
            raise ValueError(f"{self.port} is not a port")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, with brackets around an IPv6 host."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or bracketed != (":" in host) or not re.fullmatch(r"[0-9]{1,5}", port):
            raise ValueError(f"{text!r} is not host:port")
        return cls(host[1:-1] if bracketed else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as reachable from outside."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


DOCKER_HUB = "docker.io"
# containerd looks Docker Hub up under its short name, whatever its API hosts are called.
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})


def canonical_registry(text: str) -> str:
    """The one name of a registry, `docker.io`, `registry.example:5000`, `[2001:db8::1]`, however it is written.

    In lower case, without the port that is meant anyway, zeros before a port or a dot at the end, an IPv6 address in
    its shortest form; Docker Hub has one of its names. Raises ValueError when it is not a host with an optional port.
    """
    # Not lower() alone: it turns a Kelvin sign into a k.
    match = _REGISTRY.fullmatch(text.lower()) if text.isascii() and len(text) <= LONGEST_NAME else None
    port = int(match["port"] or _REGISTRY_PORT) if match else 0
    if match is None or not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"{text[:100]!r} is not a registry")
    host = match["name"] or f"[{ipaddress.IPv6Address(match['ipv6']).compressed}]"
    if port != _REGISTRY_PORT:
        return f"{host}:{port}"
    return DOCKER_HUB if host in _HUB_ALIASES else host


def is_registry(text: str) -> bool:
    """Whether it is a registry as image names have it: `docker.io`, `registry.example:5000`."""
    try:
        canonical_registry(text)
    except ValueError:
        return False
    return True


def is_endpoint(text: str) -> bool:
    """Whether it is the URL of an agent's or a cache's registry, `http(s)://host[:port]`."""
    return _ENDPOINT.fullmatch(text) is not None


def parse_duration(text: str) -> float:
    """Seconds of `3s`, `200ms`, `1m30s`, `1.5h`."""
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise ValueError(f"{text!r} is not a duration")
    return sum(float(count) * _SECONDS[unit] for unit, count in found.groupdict().items() if count)


def format_duration(seconds: float) -> str:
    """The shortest notation of a duration, exact to the millisecond: `1m30s`."""
    rest = round(seconds * 1000)
    parts = []
    for unit, milliseconds in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, milliseconds)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes of `64MiB` (binary), `1.5GB` (decimal), `512B`."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a size")
    if "." in found["count"]:
        return round(float(found["count"]) * _BYTES[found["unit"]])
    return int(found["count"]) * _BYTES[found["unit"]]


def format_size(count: int) -> str:
    """The shortest exact notation of a size: `64MiB`."""
    for unit, size in sorted(_BYTES.items(), key=lambda item: (-item[1], item[0])):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return "0B"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 name`, `3 names`; `many` where an s at the end does not make it so."""
    return f"{count} {one if count == 1 else many or one + 's'}"


@dataclass(frozen=True, slots=True)
class Notation:
    """How the values of a type are read, shown and described; attached to the type by `Annotated`."""

    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    accepts: str
    metavar: str


DURATION = Notation(parse_duration, format_duration, "a duration such as 3s, 200ms or 1m30s", "DURATION")
SIZE = Notation(parse_size, format_size, "a size such as 64MiB or 10GB", "SIZE")
ADDRESS = Notation(Address.parse, str, "host:port, such as 127.0.0.1:3172 or [::1]:3172", "HOST:PORT")

Seconds = Annotated[float, DURATION]
ByteCount = Annotated[int, SIZE]
