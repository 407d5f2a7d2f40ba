"""A Kubernetes API server in the network of a host of the lab."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.fakes.kubernetes_server import FakeApiServer, running_api_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.namespaces import Namespace

_PORT = 6443


@asynccontextmanager
async def api_server_in(
    network: Namespace, address: str, account: Path, *, token: str, namespace: str
) -> AsyncIterator[FakeApiServer]:
    """At that address of the host; `account` gets the files of a service account of the Kubernetes namespace."""
    account.mkdir()
    (account / "token").write_text(token)
    (account / "namespace").write_text(namespace)
    server = FakeApiServer(token=token)
    listener = network.open_socket()
    network.call(lambda: listener.bind((address, _PORT)))
    async with running_api_server(server, account, host=address, listener=listener):
        yield server
