"""Discovery against a real API server: what it lists, what it does in its life, and one over an etcd of 2020."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.follower import (
    TABLE,
    endpoint_slice,
    following,
    make_account,
    streamed_list,
    write_account,
)
from e2e.kubernetes.lab.control_plane import running_control_plane
from e2e.kubernetes.lab.kubectl import Kubectl
from e2e.kubernetes.lab.programs import etcd_version
from lab.apt import debian_codename, unpack_package
from lab.commands import run
from lab.kept import cache_folder, keep
from registryd.cluster.members.discovery.kubernetes.answers import read_event
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


async def test_what_a_server_lists_and_does(stage: Stage, seen: Callable[..., None]) -> None:
    kubectl, plane = stage.cluster.kubectl, stage.cluster.plane
    pods = [(f"10.99.{number >> 8}.{number & 255}", f"uid-{number}") for number in range(1000)]
    slices = [endpoint_slice(f"followed-{start}", pods[start : start + 100]) for start in range(0, 1000, 100)]
    await kubectl.apply(*slices[:5])
    folder = stage.folder / "follower"
    async with following(kubectl, plane, folder) as follower:
        await follower.until(500)
        await kubectl.apply(*slices[5:])
        await follower.until(1000)
        seen(TABLE, what="1,000 endpoints in ten slices, five of them listed and five watched", seen="1,000 peers")

        # While endpoints move, a pod is in two slices; and with two families it is in a slice of each.
        twice = endpoint_slice("followed-twice", [*pods[:50], ("10.99.9.1", "uid-new")])
        ipv6 = [(f"fd99::{number:x}", uid) for number, (_, uid) in enumerate(pods[:100], 1)]
        await kubectl.apply(endpoint_slice("followed-ipv6", ipv6, family="IPv6"), twice)
        peers = await follower.until(1001)
        assert not any("fd99" in peer for peer in peers)
        seen(TABLE, what="pods in two slices, and in slices of both families", seen="each is one peer")

        await plane.stop_api_server()
        await plane.start_api_server()
        await kubectl("delete", "endpointslice", "followed-twice")
        await follower.until(1000)
        seen(TABLE, what="an API server with another certificate in its place", seen="followed on")

        await kubectl("delete", "serviceaccount", "follower")
        await make_account(kubectl)
        await plane.stop_api_server()  # else the watch that is there would go on with the token of the dead account
        await plane.start_api_server()
        await write_account(kubectl, plane, folder)
        await kubectl("delete", "endpointslice", "followed-0")
        # Of the hundred pods, the IPv6 addresses are left.
        peers = await follower.until(1000)
        assert sum("fd99" in peer for peer in peers) == 100
        seen(TABLE, what="a token that is no longer accepted, then another in the file", seen="followed on")


async def _old_etcd(work: Path) -> Path:
    await unpack_package("etcd-server", suite=debian_codename(), target=work / "unpacked", work=work)
    return work / "unpacked"


@pytest.mark.long
async def test_over_an_old_etcd(stage: Stage, seen: Callable[..., None]) -> None:
    """Debian's 3.4, over which the API server refuses to stream lists (an ERROR event, code 500)."""
    suite = debian_codename()
    program = await keep(cache_folder("etcd") / suite, _old_etcd) / "usr/bin/etcd"
    version = (await run(str(program), "--version")).split()[2]
    host = await stage.cluster.network.add_host("old")
    folder = stage.cluster.folder / "old"
    async with running_control_plane(folder, stage.cluster.programs, host, etcd_program=str(program)) as plane:
        kubectl = Kubectl(plane.kubeconfig("admin", "admin", group="system:masters"), host.namespace)
        await kubectl.until(lambda: kubectl("get", "namespace", "default"), what="the first namespace")
        await kubectl.apply(endpoint_slice("followed-a", [("10.99.0.1", "a")]))
        async with following(kubectl, plane, folder / "follower") as follower:
            await follower.until(1)
            await kubectl.apply(endpoint_slice("followed-b", [("10.99.0.2", "b"), ("10.99.0.3", "c")]))
            await follower.until(3)
            (refusal,) = await streamed_list(kubectl)
            with pytest.raises(ApiFailed) as failure:
                read_event(refusal.encode(), port_name="peers")
    seen(TABLE, what=f"over etcd {version} instead of {etcd_version()}", seen="listed and watched")
    seen(TABLE, what="the same, asked for a list as a watch, which agents do not", seen=f"{str(failure.value)!r}")
