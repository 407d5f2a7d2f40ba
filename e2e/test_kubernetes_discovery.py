"""Real agents and a cache, as in pods: each other by EndpointSlices of their service, whatever the API server does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from e2e.test_discovery import each, until_peers
from lab.agent import AGENT, running_agent
from lab.cache import CACHE
from tests.fakes.endpoint_slices import NAMESPACE, PORT_NAME, SERVICE, Pod, put_slice
from tests.fakes.kubernetes_server import FakeApiServer, running_api_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.agent import Agent
    from lab.toml_text import Table

pytestmark = pytest.mark.timeout(300)

ADDRESSES = ("127.77.2.1", "127.77.2.2", "127.77.2.3")
TOKEN = "header.payload.signature"


def as_in_a_pod(account: Path, url: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with this service account mounted, which is told where the API server is."""
    host, _, port = url.removeprefix("https://").rpartition(":")
    script = 'mkdir -p "$1" && mount --bind "$2" "$1" && shift 2 && exec "$@"'
    mounted = "/run/secrets/kubernetes.io/serviceaccount"
    private = 'mount -t tmpfs none /run && exec "$@"'
    inside = ("sh", "-c", private, "sh", "sh", "-c", script, "sh", mounted, str(account))
    environment = ("env", f"KUBERNETES_SERVICE_HOST={host}", f"KUBERNETES_SERVICE_PORT={port}")
    return ("unshare", "--mount", "--propagation", "private", *inside, *environment, *command)


def settings_at(address: str, home: Path) -> Table:
    return {
        "registry": {"listen": f"{address}:3172"},
        "store": {"kind": "directory", "directory": str(home / "store")},
        "peers": {"listen": f"{address}:3173", "content_listen": f"{address}:3174", "advertise": address},
        "discovery": {"kind": "kubernetes", "service_name": SERVICE, "port_name": PORT_NAME},
        "admin": {"listen": f"{address}:3175"},
        "cache": {"listen": f"{address}:3172", "member": True, "keep_free": "0B"},
    }


@contextlib.asynccontextmanager
async def agents_in_pods(account: Path, folder: Path, server: FakeApiServer) -> AsyncIterator[list[Agent]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running_agent(
                    settings_at(address, folder / address),
                    folder / address,
                    program=as_in_a_pod(account, server.url, CACHE if address == ADDRESSES[-1] else AGENT),
                )
            )
            for address in ADDRESSES
        ]


async def test_agents_and_a_cache_follow_the_endpoints_of_their_service(folder: Path) -> None:
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text(TOKEN)
    (account / "namespace").write_text(NAMESPACE)
    server = FakeApiServer(token=TOKEN)
    async with running_api_server(server, account):
        pods = [Pod(address, f"node-{address}") for address in ADDRESSES]
        put_slice(server.cluster, "slice", *pods[:2])
        async with agents_in_pods(account, folder, server) as agents:
            await each(agents[:2], lambda agent: until_peers(agent, 1))
            put_slice(server.cluster, "slice", *pods)
            await each(agents, lambda agent: until_peers(agent, 2))
            server.token = "another"  # from now on the server refuses everybody
            server.reset_watches()
            await each(agents, lambda agent: until_peers(agent, 2))
            assert all([await agent.is_ready() for agent in agents])
