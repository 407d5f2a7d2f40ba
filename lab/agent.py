"""A `registryd agent` as a program of its own, with a settings file, as on a node."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.fetch import Request, Response, fetch
from lab.process import Process
from lab.toml_text import Table, merged, to_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.containerd import Containerd
    from lab.namespaces import Namespace

REGISTRY = "127.0.0.1:3172"
PEERS_PORT = 3173
ADMIN = "127.0.0.1:3175"
_OK = 200
AGENT = (sys.executable, "-m", "registryd", "agent")
# For tests of who gets what from whom, not how soon: by its own time limits an agent sends its containerd to the
# origin, or says that nobody knows a tag, on a machine that stands still for three seconds.
PATIENT: Table = {
    "registry": {"first_byte_timeout": "30s"},
    "peers": {"find_timeout": "10s"},
    "authorization": {"public_timeout": "10s"},
}


@dataclass(frozen=True)
class Metrics:
    """One reading of /metrics: name, labels and value of every sample."""

    samples: tuple[tuple[str, frozenset[tuple[str, str]], float], ...]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have this name and at least these labels; zero when there is none."""
        wanted = set(labels.items())
        return sum(value for sample, has, value in self.samples if sample == name and wanted <= has)


def parse_metrics(text: str) -> Metrics:
    """Read what an agent says of itself; its labels need no escapes."""
    lines = re.findall(r"(?m)^(\w+)(?:{(.*)})? (\S+)$", text)
    return Metrics(tuple((name, _labels(labels), float(value)) for name, labels, value in lines))


def _labels(text: str) -> frozenset[tuple[str, str]]:
    return frozenset(re.findall(r'(\w+)="([^"]*)"', text))


class Agent:
    """May be stopped, killed and started again; `settings` may be exchanged in between.

    `program` is the command that gets `--config FILE`: another sub-command, or an installed registryd.
    """

    def __init__(
        self,
        settings: Table,
        folder: Path,
        namespace: Namespace | None,
        *,
        program: tuple[str, ...] = AGENT,
    ) -> None:
        self.settings = settings
        self.program = program
        self.folder = folder
        self._namespace = namespace
        self._process: Process | None = None

    # Its life

    async def start(self) -> None:
        """Return when /readyz says so."""
        await self.launch()
        await self.process.wait_ready(self.is_ready)

    async def launch(self) -> None:
        """Start it without waiting: for an agent that cannot be ready yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "agent.toml"
        config.write_text(to_toml(self.settings))
        argv = [*self.program, "--config", str(config)]
        self._process = await Process.start(argv, log=self.folder / "agent.log", namespace=self._namespace)

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError("the agent has not been started")
        return self._process

    async def stop(self) -> None:
        if self._process:
            await self._process.stop()

    async def kill(self) -> None:
        await self.process.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    # What it says

    async def is_ready(self) -> bool:
        try:
            return (await self.ask_admin("/readyz")).status == _OK
        except OSError:
            return False

    async def metrics(self) -> Metrics:
        return parse_metrics((await self.ask_admin("/metrics")).body.decode())

    async def ask_admin(self, path: str) -> Response:
        return await self._ask("admin", ADMIN, Request(path))

    async def ask_registry(self, request: Request) -> Response:
        """Send a request to the local registry as containerd would; its `url` is the path and query only."""
        return await self._ask("registry", REGISTRY, request)

    async def _ask(self, section: str, default: str, request: Request) -> Response:
        table = self.settings.get(section)
        listen = table.get("listen", default) if isinstance(table, Mapping) else default
        return await fetch(replace(request, url=f"http://{listen}{request.url}"), namespace=self._namespace)


def agent_settings(containerd: Containerd, *, host: str, peers: list[str], changes: Table) -> Table:
    """The settings of a node's agent: containerd's content, static peers, everything answered.

    Args:
        containerd: Whose content it serves.
        host: The address at which the others reach this node.
        peers: The other nodes' addresses, without ports.
        changes: Merged over the result last.
    """
    settings: Table = {
        "authorization": {"mode": "open", "hosts_dir": str(containerd.places.hosts)},
        "store": {
            "kind": "containerd",
            "containerd_socket": str(containerd.places.socket),
            "containerd_root": str(containerd.places.root),
        },
        "peers": {"advertise": host, "insecure": True},
        "discovery": {"kind": "static", "peers": [f"{peer}:{PEERS_PORT}" for peer in peers]},
    }
    return merged(settings, changes)


@contextlib.asynccontextmanager
async def running_agent(
    settings: Table,
    folder: Path,
    *,
    namespace: Namespace | None = None,
    program: tuple[str, ...] = AGENT,
) -> AsyncIterator[Agent]:
    """An agent that is ready, for the length of the block."""
    agent = Agent(settings, folder, namespace, program=program)
    try:
        await agent.start()
        yield agent
    finally:
        await agent.stop()
