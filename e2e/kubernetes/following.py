"""Follows the endpoints of a service as an agent does, and writes what becomes of it as lines of JSON.

A list is the set of peers that discovery yields, a text is what the API server refused and why.
`python -m e2e.kubernetes.following HOST:PORT FOLDER NAMESPACE SERVICE PORT_NAME`; the folder has a service account's
files. In a process of its own, because it runs in the network of the API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.aio.backoff import Backoff
from registryd.cluster.members.discovery.kubernetes.account import ServiceAccount
from registryd.cluster.members.discovery.kubernetes.api import Service, open_api
from registryd.cluster.members.discovery.kubernetes.discovery import KubernetesDiscovery
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from registryd.cluster.members.discovery.kubernetes.answers import Event, SlicePage
    from registryd.cluster.members.discovery.kubernetes.api import SliceApi

# Shorter than an agent's, which has thousands of others beside it.
_BACKOFF = Backoff(first=0.2, longest=2.0, jitter=0.0)


class ReportingApi:
    """The real one, and what it is refused is said."""

    def __init__(self, api: SliceApi) -> None:
        self._api = api

    async def list_page(self, *, following: str = "", fresh: bool = False) -> SlicePage:
        with _reporting(f"list, {'fresh' if fresh else 'cached'}"):
            return await self._api.list_page(following=following, fresh=fresh)

    async def watch(self, since: str) -> AsyncGenerator[Event, None]:
        with _reporting("watch"):
            async with aclosing(self._api.watch(since)) as events:
                async for event in events:
                    yield event


@contextlib.contextmanager
def _reporting(asked: str) -> Iterator[None]:
    try:
        yield
    except VersionExpired as error:
        _say(f"{asked}: expired: {error}")
        raise
    except ApiFailed as error:
        _say(f"{asked}: failed, to be asked again after {error.retry_after:g} s: {error}")
        raise


async def follow(server: str, folder: str, service: Service) -> None:
    """Until the process is ended."""
    host, _, port = server.rpartition(":")
    account = ServiceAccount(Address(host, int(port)), Path(folder))

    @contextlib.asynccontextmanager
    async def open_reporting_api() -> AsyncIterator[SliceApi]:
        async with open_api(account, service) as api:
            yield ReportingApi(api)

    discovery = KubernetesDiscovery(open_reporting_api, subject="endpoints", prefer=4, backoff=_BACKOFF)
    async with aclosing(discovery.watch()) as changes:
        async for peers in changes:
            _say(sorted(str(peer) for peer in peers))


def _say(what: list[str] | str) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2], Service(*sys.argv[3:6])))
