"""Upstreams as anyone sees them.

Their client is loaded and opened when the first one is asked, which many agents never do: 0.5 MiB of an idle agent.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from registryd.failures import CommandFailed
from registryd.upstream.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.agent.hosts_folders import HostsFolders
    from registryd.config.agent import Settings
    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.upstream.anonymous import AnonymousClient
    from registryd.upstream.containerd_hosts import ContainerdHosts


class AnyonesUpstreams:
    """An AnyonesView (`registryd.upstream.public`) of the upstreams that this node's containerd would ask."""

    def __init__(self, settings: Settings, folders: HostsFolders, proxies: Proxies, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._folders = folders
        self._proxies = proxies
        self._stack = stack
        self._client: AnonymousClient | None = None
        self._hosts: ContainerdHosts | None = None
        self._opening = asyncio.Lock()

    async def head(self, repository: Repository, reference: Reference) -> bool:
        return await (await self._opened()).head(repository, reference)

    async def ping(self, registry: Registry) -> None:
        await (await self._opened()).ping(registry)

    async def _opened(self) -> AnonymousClient:
        folders = await self._folders.get()
        async with self._opening:
            if self._client is None or self._hosts is None:
                self._client, self._hosts = await self._open()
            self._hosts.follow(folders)
            return self._client

    async def _open(self) -> tuple[AnonymousClient, ContainerdHosts]:
        from registryd.upstream.anonymous import AnonymousClient  # noqa: PLC0415
        from registryd.upstream.client import open_client  # noqa: PLC0415
        from registryd.upstream.containerd_hosts import ContainerdHosts  # noqa: PLC0415
        from registryd.upstream.endpoint import Site  # noqa: PLC0415

        clock = asyncio.get_running_loop().time
        client = await self._stack.enter_async_context(open_client(clock=clock, proxies=self._proxies))
        listen = self._settings.registry.listen
        ourselves = frozenset({Site(listen.host, listen.port), Site("localhost", listen.port)})
        hosts = ContainerdHosts((), ourselves=ourselves)
        return AnonymousClient(client, hosts), hosts


@asynccontextmanager
async def open_upstreams(settings: Settings, folders: HostsFolders) -> AsyncIterator[AnyonesUpstreams]:
    """For the length of the block; asked as the hosts.toml files of the folders say.

    Raises CommandFailed for proxies in the environment that are none.
    """
    try:
        proxies = Proxies.from_environment(os.environ)
    except ValueError as error:
        raise CommandFailed(f"the proxy in the environment cannot be used: {error}") from error
    async with AsyncExitStack() as stack:
        yield AnyonesUpstreams(settings, folders, proxies, stack)
