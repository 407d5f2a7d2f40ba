"""An agent as a program of its own on loopback, with a store that is a directory, and a cluster secret."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from lab.agent import AGENT, Agent
from lab.ports import LOOPBACK, free_ports
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial
from registryd.notation import Address
from registryd.store.directory.store import open_directory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from lab.toml_text import Table
    from registryd.oci.digest import Digest


class LoneAgent(Agent):
    """Where its doors are, and the secret by which one is a member as well."""

    def __init__(
        self, folder: Path, secret_file: Path, doors: Table, settings: Table, program: tuple[str, ...]
    ) -> None:
        super().__init__(settings, folder, None, program=program)
        self.secret_file = secret_file
        self.registry, self.peers, self.content, self.admin = (Address.parse(str(door)) for door in doors.values())

    @classmethod
    def prepare(cls, folder: Path, *, changes: Table | None = None, descriptors: int | None = None) -> Self:
        """One that has not been started, with at most so many descriptors."""
        folder.mkdir(parents=True, exist_ok=True)
        secret_file = folder / "secret"
        secret_file.write_text(f"{secrets.token_urlsafe(48)}\n")
        secret_file.chmod(0o600)
        names = ("registry", "peers", "content", "admin")
        doors: Table = {name: f"{LOOPBACK}:{port}" for name, port in zip(names, free_ports(4), strict=True)}
        settings = {
            "registry": {"listen": doors["registry"]},
            "peers": {"listen": doors["peers"], "content_listen": doors["content"], "secret_file": str(secret_file)},
            "admin": {"listen": doors["admin"]},
            "authorization": {"mode": "open"},
            "store": {"kind": "directory", "directory": str(folder / "store")},
            **(changes or {}),
        }
        limit = ("prlimit", f"--nofile={descriptors}:{descriptors}") if descriptors else ()
        return cls(folder, secret_file, doors, settings, (*limit, *AGENT))

    async def store(self, contents: Iterable[tuple[Digest, bytes]]) -> None:
        """Before it is started: have these."""
        async with open_directory_store(self.folder / "store") as store:
            for digest, data in contents:
                ingest = await store.begin(digest)
                await ingest.write(data)
                await ingest.commit()
                await ingest.aclose()

    @asynccontextmanager
    async def member(self, *, timeout: float = 5.0) -> AsyncIterator[GrpcPeer]:
        """Ask it as a member does."""
        material = MintedMaterial(self.secret_file, node="member", clock=lambda: datetime.now(UTC))
        peer = GrpcPeer(self.peers, timeout=timeout, credentials=MemberCredentials(material))
        try:
            yield peer
        finally:
            await peer.aclose()

    def resident_bytes(self) -> int:
        """How much memory it has now."""
        status = self.process.status_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@asynccontextmanager
async def lone_agent(
    folder: Path,
    *,
    contents: Iterable[tuple[Digest, bytes]] = (),
    changes: Table | None = None,
    descriptors: int | None = None,
) -> AsyncIterator[LoneAgent]:
    """One that is ready, for the length of the block."""
    async with AsyncExitStack() as stack:
        agent = LoneAgent.prepare(folder, changes=changes, descriptors=descriptors)
        await agent.store(contents)
        stack.push_async_callback(agent.stop)
        await agent.start()
        yield agent
