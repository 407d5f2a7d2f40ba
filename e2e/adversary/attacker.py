"""The adversary's program, in its own network namespace: one attack, until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.adversary import calls, connections
from e2e.adversary.wire import Target
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    Attack = Callable[[Target], Coroutine[Any, Any, None]]

READY: Final = "ready"
ATTACKS: Final[dict[str, Attack]] = {
    "unread reads": calls.unread_reads,
    "made-up holders": calls.holders,
    "made-up zones": calls.zones,
    "made-up arrivals": calls.arrivals,
    "made-up claims": calls.claims,
    "made-up names": calls.names,
    "speaking for others": calls.for_others,
    "ports of others": calls.reach,
    "cheap calls": calls.hello,
    "finds": calls.finds,
    "finds that wait": calls.waits,
    "names resolved": calls.questions,
    "doubts": calls.doubts,
    "reports": calls.reports,
    "unknown methods": calls.unknown,
    "handshakes, calls": connections.peers_handshakes,
    "handshakes, bytes": connections.content_handshakes,
    "deaf downloads": connections.deaf_downloads,
    "deaf calls": connections.deaf_calls,
    "deaf reads": connections.deaf_reads,
    "half calls": connections.half_calls,
    "half requests": connections.half_requests,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    for name in ("host", "secret", "digest", "repository", "innocent", "own"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = Target(
        given.host, Path(given.secret), Digest.parse(given.digest), given.repository, given.innocent, given.own
    )
    print(READY, flush=True)
    asyncio.run(ATTACKS[given.attack](target))


if __name__ == "__main__":
    main()
