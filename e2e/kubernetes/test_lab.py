"""The cluster itself: it starts quickly, it is what it says, and nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.lab.programs import etcd_version, kubernetes_version
from e2e.kubernetes.stage import CHECKOUT
from lab.leftovers import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

# On a clean machine the programs are built first.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3600)]


async def test_three_nodes_are_ready(stage: Stage, seen: Callable[..., None]) -> None:
    for node in stage.nodes:
        info = (await stage.cluster.kubectl.get("node", node.name))["status"]["nodeInfo"]
        assert info["kubeletVersion"] == f"v{kubernetes_version()}"
        seen(
            "The cluster",
            node=node.name,
            kubelet=info["kubeletVersion"],
            containerd=info["containerRuntimeVersion"].removeprefix("containerd://"),
            zone=node.plan.zone,
            etcd=etcd_version(),
        )
    what = "a control plane and three nodes until all are ready, their programs being there"
    seen("Installation", what=what, seconds=f"{stage.started_seconds:.0f}")


def left_of(pid: int) -> list[str]:
    """Namespaces, mounts, cgroups, folders and processes of the lab that this process made."""
    mark = f"rdlab-{pid}-"
    folders = [NAMESPACES, Path("/tmp"), Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    found = [str(path) for folder in folders if folder.is_dir() for path in folder.glob(f"{mark}*")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if mark in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "cmdline").read_bytes():
                found.append(str(process))
        except OSError:
            continue  # it has ended meanwhile
    return found


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
async def test_an_interrupt_leaves_nothing(stage: Stage, number: signal.Signals) -> None:
    """While the nodes run, as after ^C in the middle of a test."""
    argv = (sys.executable, "-m", "e2e.kubernetes", "sh", "-c", "echo up; sleep 600")
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout
    try:
        async with asyncio.timeout(300):
            assert b"up" in await process.stdout.readline()
        assert left_of(process.pid)
        process.send_signal(number)
        async with asyncio.timeout(180):
            await process.wait()
    finally:
        if process.returncode is None:  # what comes afterwards would share the machine with it
            process.kill()
            await process.wait()
    assert left_of(process.pid) == []


async def test_what_is_missing_is_one_line(stage: Stage, tmp_path: Path) -> None:
    """Here: everything that is in no folder of PATH."""
    environment = {**os.environ, "PATH": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "e2e.kubernetes"),
        cwd=CHECKOUT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode() == "dev kubernetes: nsenter is not installed (apt-get install util-linux)\n"
