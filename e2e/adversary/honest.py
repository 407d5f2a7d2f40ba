"""An honest member's program, in its own network namespace: it asks the agent where content is, and times the answers.

A line for each find: when it was asked (seconds of the system's monotonic clock), how long the answer took in
milliseconds, and what went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from registryd.cluster.rpc.peer import GrpcPeer
from registryd.content.sought import Sought
from registryd.content.source import ContentUnavailable
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository

_PACE_SECONDS: Final = 0.05
# peers.find_timeout is half a second; what takes longer is to be seen and not only counted.
_TIMEOUT: Final = 5.0


async def find_on(address: Address, secret: Path, sought: Sought) -> None:
    """Ask until cancelled."""
    material = MintedMaterial(secret, node="honest", clock=lambda: datetime.now(UTC))
    peer = GrpcPeer(address, timeout=_TIMEOUT, credentials=MemberCredentials(material))
    while True:
        began, problem = time.monotonic(), ""
        try:
            if (await peer.find(sought)).content is None:
                problem = "it has nothing"
        except ContentUnavailable as error:
            problem = str(error)
        print(began, 1000 * (time.monotonic() - began), problem, flush=True)
        await asyncio.sleep(_PACE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("address", "secret", "digest", "repository"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    sought = Sought(Digest.parse(given.digest), Repository.parse(given.repository))
    asyncio.run(find_on(Address.parse(given.address), Path(given.secret), sought))


if __name__ == "__main__":
    main()
