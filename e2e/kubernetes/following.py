"""Follows the endpoints of a service as an agent does, and writes each set that discovery yields as one line of JSON.

`python -m e2e.kubernetes.following HOST:PORT FOLDER NAMESPACE SERVICE PORT_NAME`; the folder has a service account's
files. In a process of its own, because it runs in the network of the API server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path

from registryd.aio.backoff import Backoff
from registryd.cluster.members.discovery.kubernetes.account import ServiceAccount
from registryd.cluster.members.discovery.kubernetes.api import Service, open_api
from registryd.cluster.members.discovery.kubernetes.discovery import KubernetesDiscovery
from registryd.notation import Address

# Shorter than an agent's, which has thousands of others beside it.
_BACKOFF = Backoff(first=0.2, longest=1.0, jitter=0.0)


async def follow(server: str, folder: str, service: Service) -> None:
    """Until the process is ended."""
    host, _, port = server.rpartition(":")
    account = ServiceAccount(Address(host, int(port)), Path(folder))
    discovery = KubernetesDiscovery(lambda: open_api(account, service), subject="endpoints", prefer=4, backoff=_BACKOFF)
    async with aclosing(discovery.watch()) as changes:
        async for peers in changes:
            sys.stdout.write(json.dumps(sorted(str(peer) for peer in peers)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2], Service(*sys.argv[3:6])))
