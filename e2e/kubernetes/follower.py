"""A program that follows the endpoints of a service as an agent does, and the slices that it is shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

from e2e.kubernetes.stage import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from e2e.kubernetes.lab.control_plane import ControlPlane
    from e2e.kubernetes.lab.kubectl import Kubectl, Object

SERVICE = "followed"
ACCOUNT = "follower"
TABLE = "Discovery"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
_STREAMED = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"
_SECONDS = 120
_LONGEST_LINE = 1 << 20  # 1,000 addresses are more than asyncio's 64 KiB


def endpoint_slice(name: str, endpoints: Iterable[tuple[str, str]], *, family: str = "IPv4") -> Object:
    """Of pods by address and uid."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": family,
        "ports": [{"name": "peers", "port": 3173, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "targetRef": {"kind": "Pod", "name": uid, "namespace": "default", "uid": uid}}
            for address, uid in endpoints
        ],
    }


class Follower:
    """What discovery yields, in another process, and what the API server refused it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.refusals: list[str] = []
        """All so far, in words."""

    async def until(self, count: int) -> frozenset[str]:
        """The first set from now on that has so many; TimeoutError when none comes."""
        async for said in self._said():
            if isinstance(said, list) and len(said) == count:
                return frozenset(said)
        raise AssertionError("discovery has ended")

    async def until_refused(self, how: str) -> str:
        """The first refusal from now on that has these words in it; TimeoutError when none comes."""
        async for said in self._said():
            if isinstance(said, str) and how in said:
                return said
        raise AssertionError("discovery has ended")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It notices nothing of what happens in the block."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def _said(self) -> AsyncIterator[list[str] | str]:
        """What it says from now on."""
        assert self._process.stdout
        async with asyncio.timeout(_SECONDS):
            while line := await self._process.stdout.readline():
                said = json.loads(line)
                if isinstance(said, str):
                    self.refusals.append(said)
                yield said


async def write_account(kubectl: Kubectl, plane: ControlPlane, folder: Path) -> None:
    """The account's files as a kubelet mounts them, with a new token."""
    folder.mkdir(exist_ok=True)
    write_authority(folder, plane.authority.certificate.read_bytes())
    (folder / "namespace").write_text("default")
    (folder / "token.new").write_text((await kubectl("create", "token", ACCOUNT)).strip())
    (folder / "token.new").rename(folder / "token")


def write_authority(folder: Path, certificates: bytes) -> None:
    """Whom the account trusts, exchanged as a kubelet does it."""
    (folder / "ca.new").write_bytes(certificates)
    (folder / "ca.new").rename(folder / "ca.crt")


async def make_account(kubectl: Kubectl) -> None:
    await kubectl("create", "serviceaccount", ACCOUNT)


@contextlib.asynccontextmanager
async def following(kubectl: Kubectl, plane: ControlPlane, folder: Path) -> AsyncIterator[Follower]:
    """A follower with an account that may do what an agent's may."""
    await make_account(kubectl)
    await kubectl("create", "role", ACCOUNT, "--verb=list,watch", "--resource=endpointslices.discovery.k8s.io")
    await kubectl("create", "rolebinding", ACCOUNT, f"--role={ACCOUNT}", f"--serviceaccount=default:{ACCOUNT}")
    await write_account(kubectl, plane, folder)
    server = plane.url.removeprefix("https://")
    argv = (sys.executable, "-m", "e2e.kubernetes.following", server, str(folder), "default", SERVICE, "peers")
    command = plane.host.namespace.command(*argv)
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, stdout=PIPE, limit=_LONGEST_LINE)
    try:
        yield Follower(process)
    finally:
        process.kill()
        await process.communicate()
        of_it = [f"{kind}/{ACCOUNT}" for kind in ("serviceaccount", "role", "rolebinding")]
        await kubectl("delete", *of_it, "--ignore-not-found")
        await kubectl("delete", "endpointslices", "-l", f"kubernetes.io/service-name={SERVICE}")


async def streamed_list(kubectl: Kubectl) -> list[str]:
    """The lines that a server answers to a client that wants a list as a watch (KEP-3157), which agents do not."""
    return (await kubectl("get", "--raw", f"{SLICES}?{_STREAMED}")).splitlines()
