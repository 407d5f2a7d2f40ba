"""Real agents as processes on this machine: a directory store and an address each, members of one cluster."""

from __future__ import annotations

import os
import secrets
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from benchmarks.downloads import Url
from benchmarks.naming import name_blobs
from benchmarks.processes import Server, running
from lab.agent import Metrics, parse_metrics
from lab.toml_text import Table, merged, to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# 127.0.0.0/8 is all loopback: each agent has the fixed ports at its own address, each run a network of its own.
NETWORK: Final = f"127.88.{os.getpid() % 256}"
REGISTRY_PORT: Final = 3172
_PEERS_PORT: Final = 3173
_CONTENT_PORT: Final = 3174
_ADMIN_PORT: Final = 3175
_ACQUAINTED_SECONDS: Final = 20.0
# Index nodes are told within a tenth of a second; these processors have more to do than a node's.
_FOUND_SECONDS: Final = 0.5


class Trust(Enum):
    """How the agents know each other: `peers.transport` and whether there is a secret."""

    TLS = "mTLS"
    TICKET = "plain, with tickets"
    NONE = "insecure"

    def settings(self, secret: Path) -> Table:
        if self is Trust.NONE:
            return {"insecure": True}
        return {"secret_file": str(secret), "transport": "tls" if self is Trust.TLS else "plain"}


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent that is ready."""

    server: Server
    address: str
    store: Path

    def blob_url(self, digest: str) -> Url:
        """Where it gives the blob of this digest, in hexadecimal."""
        return Url(REGISTRY_PORT, f"/v2/library/benchmark/blobs/sha256:{digest}?ns=docker.io", host=self.address)

    def add_blobs(self, *blobs: Path) -> None:
        """Let it have these files, whose names are their digests; returns when others can find them."""
        for blob in blobs:
            (self.store / "blobs/sha256" / blob.name).hardlink_to(blob)
        name_blobs(self.store)
        time.sleep(_FOUND_SECONDS)

    def metrics(self) -> Metrics:
        with urllib.request.urlopen(f"http://{self.address}:{_ADMIN_PORT}/metrics", timeout=5) as answer:
            return parse_metrics(answer.read().decode())

    def wait_acquainted(self, count: int) -> None:
        """Return when so many peers can be asked."""
        deadline = time.monotonic() + _ACQUAINTED_SECONDS
        while self.metrics().total("registryd_peers", state="available") < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.address} does not find its {count} peers")
            time.sleep(0.05)


@contextmanager
def running_agents(
    folder: Path, count: int, trust: Trust = Trust.TLS, *, first: int = 1
) -> Iterator[list[RunningAgent]]:
    """So many agents that all know each other; their stores are empty folders below `folder`.

    `first` is the number of the first address: clusters that exist at the same time have different ones.
    """
    secret = make_secret(folder)
    addresses = [f"{NETWORK}.{number}" for number in range(first, first + count)]
    changes: Table = {
        "peers": trust.settings(secret),
        "discovery": {"kind": "static", "peers": [f"{address}:{_PEERS_PORT}" for address in addresses]},
    }
    with ExitStack() as cleanup:
        agents = [
            cleanup.enter_context(running_agent(folder / f"agent-{address}", address, changes)) for address in addresses
        ]
        for agent in agents:
            agent.wait_acquainted(count - 1)
        yield agents


def make_secret(folder: Path) -> Path:
    """A new cluster secret in a file that only its owner may read."""
    secret = folder / "secret"
    secret.write_text(secrets.token_hex(32))
    secret.chmod(0o600)
    return secret


@contextmanager
def running_agent(folder: Path, address: str, changes: Table) -> Iterator[RunningAgent]:
    """One agent that listens at this address; `changes` are merged over its settings last."""
    store = make_store(folder / "store")
    config = folder / "agent.toml"
    config.write_text(to_toml(merged(settings_at(address, store), changes)))
    command = [sys.executable, "-m", "registryd", "agent", "--config", str(config)]
    ports = (REGISTRY_PORT, _PEERS_PORT, _CONTENT_PORT, _ADMIN_PORT)
    with running(command, ports=ports, host=address, log=folder / "agent.log") as server:
        yield RunningAgent(server, address, store)


def make_store(folder: Path) -> Path:
    """A new store in the OCI image layout, with nothing in it."""
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    return folder


def settings_at(address: str, store: Path) -> Table:
    """Of an agent that listens at this address, at all of its fixed ports."""
    return {
        "registry": {"listen": f"{address}:{REGISTRY_PORT}"},
        # No upstream is asked: it is not what is measured. With "open", misses would ask everyone.
        "authorization": {"mode": "upstream"},
        "store": {"kind": "directory", "directory": str(store)},
        "peers": {
            "listen": f"{address}:{_PEERS_PORT}",
            "content_listen": f"{address}:{_CONTENT_PORT}",
            "advertise": address,
        },
        "admin": {"listen": f"{address}:{_ADMIN_PORT}"},
        "log": {"level": "warning"},
    }
