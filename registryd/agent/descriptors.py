"""Shares of file descriptors: no door can take descriptors that another door, or the work behind it, needs."""

from __future__ import annotations

import resource
from typing import Final

# The share of all descriptors that the connections of a door may take. The rest, nearly a third, is for content's
# files, for containerd, and for questions to peers and upstreams. Of 1,024 descriptors, the usual default limit, these
# are 153 for containerd, which keeps a handful, 256 for each of the peers' doors, and 51 for probes.
_SHARES: Final = {
    "registry.listen": 0.15,
    "cache.listen": 0.25,
    "peers.listen": 0.25,
    "peers.content_listen": 0.25,
    "admin.listen": 0.05,
}
# Where the system says that there is no limit.
_PLENTY: Final = 1 << 20


def raise_limit() -> None:
    """Raise the soft limit to the hard one: programs that use select() need the soft one to be low, we do not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share_of(door: str) -> int:
    """How many connections the door that a setting names may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(_SHARES[door] * (_PLENTY if soft == resource.RLIM_INFINITY else min(soft, _PLENTY)))
