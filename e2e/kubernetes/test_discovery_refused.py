"""What a real API server refuses, and in which ways it is another one afterwards: discovery follows on.

A control plane of its own, without nodes, because others would notice.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.kubernetes.busy import refusing
from e2e.kubernetes.follower import ACCOUNT, SLICES, TABLE, endpoint_slice, following, streamed_list, write_authority
from e2e.kubernetes.lab.control_plane import ETCD, ControlPlane, running_control_plane
from e2e.kubernetes.lab.kubectl import Kubectl
from e2e.kubernetes.lab.pki import Authority
from e2e.kubernetes.lab.programs import kubernetes_version
from lab.fetch import Request, fetch
from registryd.cluster.members.discovery.kubernetes.answers import Bookmark, Stored, read_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@dataclass
class Server:
    plane: ControlPlane
    kubectl: Kubectl
    folder: Path

    async def replace(self, *flags: str, issuer: Authority | None = None) -> None:
        await self.plane.stop_api_server()
        await self.plane.start_api_server(*flags, issuer=issuer)

    async def add(self, number: int) -> None:
        """One more slice with one more pod."""
        await self.kubectl.apply(endpoint_slice(f"followed-{number}", [(f"10.99.0.{number}", f"uid-{number}")]))

    async def version(self) -> int:
        """Of everything, as of now."""
        return int(json.loads(await self.kubectl("get", "--raw", SLICES))["metadata"]["resourceVersion"])

    async def speaks(self) -> str:
        """The version that it is to its clients, such as "1.37"."""
        said = json.loads(await self.kubectl("get", "--raw", "/version"))
        return f"{said['emulationMajor']}.{said['emulationMinor']}"

    async def forget_versions(self) -> None:
        """Have etcd compact all that was before, as an API server does every five minutes."""
        body = json.dumps({"revision": str(await self.version()), "physical": True}).encode()
        request = Request(f"{ETCD}/v3/kv/compaction", "POST", (("Content-Type", "application/json"),), body)
        answer = await fetch(request, namespace=self.plane.host.namespace)
        assert answer.status == 200, answer.body


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(stage: Stage) -> AsyncIterator[Server]:
    host = await stage.cluster.network.add_host("refusing")
    folder = stage.cluster.folder / "refusing"
    async with running_control_plane(folder, stage.cluster.programs, host) as plane:
        kubectl = Kubectl(plane.kubeconfig("admin", "admin", group="system:masters"), host.namespace)
        await kubectl.until(lambda: kubectl("get", "namespace", "default"), what="the first namespace")
        yield Server(plane, kubectl, folder)


@pytest.mark.parametrize("cache", ["--watch-cache=true", "--watch-cache=false"])
async def test_versions_that_are_gone(server: Server, seen: Callable[..., None], cache: str) -> None:
    """A follower that was away meanwhile goes on from where it was, is told 410, and lists anew."""
    await server.replace(cache)
    await server.add(1)
    async with following(server.kubectl, server.plane, server.folder / "account") as follower:
        await follower.until(1)
        with follower.stopped():
            await server.replace(cache)
            await server.add(2)
            await server.kubectl("delete", "endpointslice", "followed-1")
            await server.add(3)
            await server.add(4)
            await server.forget_versions()
            await server.replace(cache)
        gone = await follower.until_refused("expired")
        await follower.until(3)
        await server.add(5)
        await follower.until(4)
    assert gone.startswith("watch: expired")
    what = f"versions that are gone (410), `{cache}`: {gone.partition('expired: ')[2]!r}"
    seen(TABLE, what=what, seen="listed anew, followed on")


async def test_a_server_that_is_busy(server: Server, seen: Callable[..., None]) -> None:
    """429, by priority and fairness, for as long as that lasts; what is known stays."""
    kubectl = server.kubectl
    await server.add(1)
    async with following(kubectl, server.plane, server.folder / "account") as follower:
        await follower.until(1)
        async with contextlib.AsyncExitStack() as stack:
            with follower.stopped():
                await server.replace()
                await stack.enter_async_context(refusing(kubectl, server.plane, ACCOUNT))
            refusal = await follower.until_refused("429")
            await server.add(2)
            await follower.until_refused("429")
        await follower.until(2)
        refusals = sum("429" in each for each in follower.refusals)
    assert "again after 1 s" in refusal
    what = f"a server that is busy (429, `Retry-After: 1`): {refusal.partition(' s: ')[2]!r}"
    seen(TABLE, what=what, seen=f"kept its peers, asked {refusals} times, followed on")


async def test_an_authority_that_is_exchanged(server: Server, seen: Callable[..., None]) -> None:
    """As its documents say: both are trusted, then the new one issues, then the old one is trusted no longer."""
    kubectl, plane, account = server.kubectl, server.plane, server.folder / "account"
    new = Authority(server.folder / "pki-new", "lab, the second")
    old, both = plane.authority.certificate.read_bytes(), server.folder / "both"
    both.write_bytes(old + new.certificate.read_bytes())
    await server.add(1)
    try:
        async with following(kubectl, plane, account) as follower:
            await follower.until(1)
            write_authority(account, both.read_bytes())
            plane.authority.certificate.write_bytes(both.read_bytes())  # whom kubectl trusts
            await server.replace(issuer=new)
            await server.add(2)
            await follower.until(2)
            write_authority(account, new.certificate.read_bytes())
            await server.replace(issuer=new)
            await server.add(3)
            await follower.until(3)
            # And not whoever answers: one with a certificate of the old authority gets no token any more.
            await server.replace()
            refusal = await follower.until_refused("CERTIFICATE_VERIFY_FAILED")
    finally:
        plane.authority.certificate.write_bytes(old)
        await server.replace()
    print(refusal)
    what, became = "a cluster whose authority is exchanged", "followed on; the old one is not trusted any longer"
    seen(TABLE, what=what, seen=became)


async def test_a_server_of_another_version(server: Server, seen: Callable[..., None]) -> None:
    """The one before, as a server of today emulates it (KEP-4330); then today's, as in an upgrade."""
    major, minor, _ = kubernetes_version().split(".")
    before = f"{major}.{int(minor) - 1}"
    await server.replace(f"--emulated-version=kube={before}")
    await server.add(1)
    async with following(server.kubectl, server.plane, server.folder / "account") as follower:
        await follower.until(1)
        first = await server.speaks()
        await server.replace()
        await server.add(2)
        await follower.until(2)
        second = await server.speaks()
    assert (first, second) == (before, f"{major}.{minor}")
    seen(TABLE, what=f"an API server of {second} in place of one of {first}", seen="followed on")


async def test_what_a_real_bookmark_is(server: Server, seen: Callable[..., None]) -> None:
    """Of a kind that has no endpoints at all, which is not to be parsed as a slice."""
    await server.replace()
    await server.add(1)
    lines = await streamed_list(server.kubectl)
    events = [read_event(line.encode(), port_name="peers") for line in lines]
    marks = [line for line, event in zip(lines, events, strict=True) if isinstance(event, Bookmark)]
    assert any(isinstance(event, Stored) and event.slice.endpoints for event in events)
    assert marks
    assert all(json.loads(mark)["object"]["endpoints"] is None for mark in marks)
    await server.kubectl("delete", "endpointslices", "-l", "kubernetes.io/service-name=followed")
    seen(TABLE, what="a bookmark, whose `endpoints` are `null`", seen="read as what it is")
