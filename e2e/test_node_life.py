"""What becomes of a node that is set up: containerds that come late, two of them, files that others write again."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from e2e.layouts import CERTS, CONFIG, LAYOUTS, OLD, SOCKET
from e2e.node_root import NodeRoot, node_root
from e2e.test_layouts import agent_on, laid_out
from lab.commands import run
from lab.errors import CommandError
from lab.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from lab.network import Network
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

US = "http://127.0.0.1:3172"
WITH_PATH = f"version = 2\n[{OLD}.registry]\n  config_path = '{CERTS}'\n"


@pytest.fixture
async def node(network: Network, folder: Path) -> AsyncIterator[NodeRoot]:
    host = await network.add_host("node")
    async with node_root(folder / "n", host.namespace) as root:
        yield root


async def until(condition: Callable[[], bool], what: str) -> None:
    """Within seconds, as is promised; generously, for a machine that has much to do."""
    try:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - files of another mount namespace
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within 60 s: {what}")


# Which containerd


async def test_the_program_that_runs_is_asked_and_no_other(
    node: NodeRoot, representatives: tuple[Release, ...]
) -> None:
    """/usr/bin has an old one, which knows nothing of the format; /usr/local/bin the one that runs."""
    new, old = representatives[-1], representatives[0]
    await node.install_program(old.containerd, "/usr/bin/containerd")
    await node.install_program(new.containerd, "/usr/local/bin/containerd")
    node.write({CONFIG: "version = 4\n"})
    await node.start(["/usr/local/bin/containerd"], SOCKET)
    said = await node.registryd("install")
    assert said.startswith(str(new))
    assert "must be restarted" in said
    await node.stop()
    await node.start(["/usr/local/bin/containerd"], SOCKET)
    assert "containerd itself says" in await node.registryd("install")


async def test_of_two_that_a_kubelet_could_use_one_has_to_be_named(node: NodeRoot, newest: Release) -> None:
    k3s = "/run/k3s/containerd/containerd.sock"
    places = "root = '/var/lib/k3s/agent/containerd'\nstate = '/run/k3s'"
    node.write({CONFIG: "version = 4\n", "/etc/k3s.toml": f"version = 3\n{places}\n[grpc]\naddress = '{k3s}'\n"})
    async with running(node.command(newest.containerd), log=node.folder.with_suffix(".one.log")) as one:
        await one.wait_ready(node.images(SOCKET).is_ready)
        await node.start([newest.containerd, "-c", "/etc/k3s.toml"], k3s)
        before = node.files()
        with pytest.raises(CommandError, match=r"2 containerds answer on this node, at .*k3s.* and /run/containerd"):
            await node.registryd("install")
        found = await node.doctor()
        assert (found["config_path"][0], "2 containerds" in found["config_path"][1]) == ("problem", True)
        assert node.files() == before
        assert "/etc/k3s.toml" in await node.registryd("install", "--store.containerd_socket", k3s)


async def test_the_containerd_of_docker_is_passed_by(node: NodeRoot, newest: Release) -> None:
    """It has no CRI, and is at the usual place."""
    k0s = "/run/k0s/containerd.sock"
    without_cri = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]\nversion = 2\n'
    node.write({CONFIG: without_cri, "/etc/k0s/containerd.toml": WITH_PATH})
    own = ["--root=/var/lib/k0s/containerd", "--state=/run/k0s/containerd", f"--address={k0s}"]
    words = [newest.containerd, *own, "-c=/etc/k0s/containerd.toml"]
    async with running(node.command(newest.containerd), log=node.folder.with_suffix(".one.log")) as docker:
        await until(node.at(SOCKET).exists, "Docker's containerd")
        await node.start(words, k0s)
        said = await node.registryd("install")
        assert "k0s: containerd" in said
        assert "must be restarted" not in said
        docker.check_running()


async def test_a_file_that_the_running_one_does_not_read_is_not_made(node: NodeRoot, newest: Release) -> None:
    node.write({"/etc/own/c.toml": "version = 3\n"})
    await node.start([newest.containerd, "--config", "/etc/own/c.toml"], SOCKET)
    before = node.files()
    with pytest.raises(CommandError, match=r"started with /etc/own/c\.toml and does not read /etc/containerd/config"):
        await node.registryd("install", "--containerd-config", CONFIG)
    assert node.files() == before
    said = await node.registryd("install")
    assert "configured by /etc/own/c.toml" in said
    assert not node.at(CONFIG).exists()


async def test_from_a_container_the_nodes_files_and_its_containerd_are_the_same(
    node: NodeRoot, newest: Release
) -> None:
    """As the chart's init container: the node's root is mounted, and it sees no process of the node.

    The socket has a name of its own: other tests run containerds of this machine at the usual one.
    """
    await node.install_program(newest.containerd, "/usr/local/bin/containerd")
    own = f"/run/{node.holder.pid}/containerd.sock"
    node.write({"/etc/own/c.toml": f"version = 3\n[grpc]\naddress = '{own}'\n"})
    start = ["/usr/local/bin/containerd", "--config", "/etc/own/c.toml"]
    await node.start(start, own)
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "registryd"]
    outside = ["nsenter", f"--mount=/proc/{node.holder.pid}/ns/mnt", "--", *inside]
    where = ["--root", f"{node.folder}/root", "--store.containerd_socket", own]

    async def registryd(command: str) -> str:
        return await run(*node.namespace.command(*outside, command, *where))

    before = node.files()
    said = await registryd("install")
    assert "configured by /etc/own/c.toml" in said
    assert "must be restarted" in said
    await node.stop()
    await node.start(start, own)
    assert f"containerd itself says that it looks for hosts.toml files in {CERTS}" in await registryd("install")
    async with agent_on(node):
        assert (await node.doctor())["pull"][0] == "ok"
    await registryd("uninstall")
    assert node.files() == before


# When it comes


async def test_an_agent_that_is_there_first_changes_over_to_a_containerd_that_comes(
    node: NodeRoot, newest: Release
) -> None:
    node.write({CONFIG: WITH_PATH})
    async with agent_on(node) as agent:
        assert node.at("/var/lib/registryd/store/oci-layout").exists()
        await node.start([newest.containerd], SOCKET)
        await node.registryd("install")
        log = node.at("/run/of-the-test/agent.log")
        await until(lambda: b"a containerd has appeared" in log.read_bytes(), "a change of stores")
        await until(lambda: log.read_bytes().count(b'"serving"') > 1, "another agent")
        await agent.process.wait_ready(agent.is_ready)
        found = await node.doctor()
        assert not [each for each in found.values() if each[0] == "problem"], found
        assert found["pull"][0] == "ok"


async def test_a_token_means_a_containerd_though_none_is_there_yet(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH})
    await node.registryd("install", "--token-file", "/etc/registryd/token")
    async with agent_on(node, {"registry": {"token_file": "/etc/registryd/token"}}, is_ready=False) as agent:
        await until(lambda: b"serving" in node.at("/run/of-the-test/agent.log").read_bytes(), "an agent")
        assert not await agent.is_ready()
        assert not node.at("/var/lib/registryd/store").exists()
        await node.start([newest.containerd], SOCKET)
        await agent.process.wait_ready(agent.is_ready)
        found = await node.doctor("--registry.token_file", "/etc/registryd/token")
        assert not [each for each in found.values() if each[0] == "problem"], found


async def test_an_agent_that_serves_a_directory_beside_a_containerd_is_found(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH})
    await node.start([newest.containerd], SOCKET)
    async with agent_on(node, {"store": {"kind": "directory"}}):
        found = await node.doctor()
        assert (found["store"][0], "serves a directory" in found["store"][1]) == ("problem", True)


# What others write


CONFIGURING = ("--configure-containerd",)


async def test_what_is_written_again_is_noticed_within_seconds(node: NodeRoot, newest: Release) -> None:
    """k3s at its restart, in place; another program's drop-in; a folder that is new."""
    drop_in = "/etc/containerd/conf.d/zz-registryd.toml"
    own = '[host."http://m"]\n'
    imports = 'imports = ["/etc/containerd/conf.d/*.toml"]\n'
    node.write({CONFIG: f"version = 4\n{imports}", f"{CERTS}/a.lab/hosts.toml": own})
    await node.start([newest.containerd], SOCKET)
    before = node.files()
    async with agent_on(node, words=CONFIGURING):
        assert US in node.at(f"{CERTS}/a.lab/hosts.toml").read_text()
        generated = '# File generated by k3s. DO NOT EDIT.\n[host."http://m2"]\n'
        node.write({f"{CERTS}/a.lab/hosts.toml": generated})
        await until(lambda: US in node.at(f"{CERTS}/a.lab/hosts.toml").read_text(), "written again in place")
        node.write({f"{CERTS}/b.lab/hosts.toml": '[host."http://m"]\n'})
        await until(lambda: US in node.at(f"{CERTS}/b.lab/hosts.toml").read_text(), "a new folder")
        shutil.rmtree(node.at(f"{CERTS}/_default"))
        await until(node.at(f"{CERTS}/_default/hosts.toml").exists, "a folder that went")
        node.at(drop_in).unlink()
        await until(node.at(drop_in).exists, "a drop-in that went")
        log = node.at("/run/of-the-test/agent.log").read_text()
        assert "containerd must be restarted" in log
    await node.registryd("uninstall")
    node.write({f"{CERTS}/a.lab/hosts.toml": '[host."http://m"]\n'})
    shutil.rmtree(node.at(f"{CERTS}/b.lab"))
    assert node.files() == before


async def test_an_agent_leaves_a_node_alone_that_was_taken_back(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH, f"{CERTS}/a.lab/hosts.toml": '[host."http://m"]\n'})
    await node.start([newest.containerd], SOCKET)
    before = node.files()
    async with agent_on(node, words=CONFIGURING):
        await node.registryd("uninstall")
        await until(lambda: b"has undone" in node.at("/run/of-the-test/agent.log").read_bytes(), "the agent's word")
        node.write({f"{CERTS}/a.lab/hosts.toml": '[host."http://m"]\n'})
        await asyncio.sleep(1)
        assert node.files() == before


async def test_an_agent_runs_on_a_node_that_it_cannot_set_up(node: NodeRoot, newest: Release) -> None:
    """The containerd that comes after 2.4 has a format that nobody knows here."""
    node.write({CONFIG: "version = 4\n"})
    await node.start([newest.containerd], SOCKET)
    node.write({CONFIG: "version = 5\n"})
    before = node.files()
    with pytest.raises(CommandError, match="is in version 5 of the format") as refused:
        await node.registryd("install")
    assert str(refused.value).count("\n") == 0
    async with agent_on(node, words=CONFIGURING):
        log = node.at("/run/of-the-test/agent.log").read_text()
        assert len(re.findall("version 5", log)) == 1
        found = await node.doctor()
        assert (found["config_path"][0], "version 5" in found["config_path"][1]) == ("problem", True)
        assert found["agent"][0] == "ok"
        assert node.files() == before
        node.write({CONFIG: "version = 4\n"})
        await until(node.at(f"{CERTS}/_default/hosts.toml").exists, "a configuration that was mended")


async def test_the_refresh_of_a_snap_copies_what_is_ours(newest: Release, network: Network, folder: Path) -> None:
    microk8s = next(each for each in LAYOUTS if each.name == "MicroK8s")
    async with laid_out(microk8s, newest, network, folder) as laid:
        node = laid.node
        await laid.start()
        of_100 = f"{microk8s.hosts}/docker.io/hosts.toml"
        pristine = node.at(of_100).read_text()
        await node.registryd("install")
        assert US in node.at(of_100).read_text()
        await node.stop()
        await node.run("cp", "-a", "/var/snap/microk8s/100", "/var/snap/microk8s/101")
        node.at("/var/snap/microk8s/current").unlink()
        node.at("/var/snap/microk8s/current").symlink_to("101")
        assert microk8s.before_start
        await microk8s.before_start(node, laid.release)
        words = [word.replace("/100/", "/101/") for word in microk8s.words]
        await node.start([microk8s.program, *words], microk8s.socket)

        of_101 = of_100.replace("/100/", "/101/")
        said = await node.registryd("uninstall", "--dry-run")
        assert f"{of_101} has our mark and is in no record" in said
        await node.registryd("install")
        said = await node.registryd("uninstall")
        for path in (of_100, of_101):
            assert node.at(path).read_text() == pristine
        assert not [path for path in node.files() if "_default" in path]


# Doors


async def test_a_port_that_is_somebody_elses_stops_an_install(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH})
    await node.start([newest.containerd], SOCKET)
    before = node.files()
    argv = node.command(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "3172")
    async with running(argv, log=node.folder.with_suffix(".http.log")) as other:
        await other.wait_ready(lambda: _listens(node))
        with pytest.raises(CommandError, match=rf"127\.0\.0\.1:3172 is taken by python\S* \(process {other.pid}\)"):
            await node.registryd("install")
        assert node.files() == before
        assert (await node.doctor())["port"][0] == "problem"
        await node.registryd("install", "--registry.listen", "127.0.0.1:3182")


async def _listens(node: NodeRoot) -> bool:
    with contextlib.suppress(CommandError):
        return "3172" in await node.run("ss", "-Htln", "sport = :3172")
    return False


async def test_install_can_end_with_the_proof(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH})
    await node.start([newest.containerd], SOCKET)
    with pytest.raises(CommandError, match="exit 1"):
        await node.registryd("install", "--verify")  # there is no agent
    async with agent_on(node):
        assert "a trial image came" in await node.registryd("install", "--verify")


# What only looks like a fault, and what does not look like one


async def test_a_link_to_the_socket_is_no_second_containerd(node: NodeRoot, newest: Release) -> None:
    """As people of k3s make it, for crictl."""
    k3s = "/run/k3s/containerd/containerd.sock"
    node.write({CONFIG: f"{WITH_PATH}[grpc]\n  address = '{k3s}'\n", "/run/containerd": None})
    await node.start([newest.containerd, "--config", CONFIG], k3s)
    node.at(SOCKET).symlink_to(k3s)
    before = node.files()
    assert f"store.containerd_socket = {k3s}" in await node.registryd("install")
    async with agent_on(node):
        assert {(await node.doctor())[name][0] for name in ("config_path", "hosts", "pull")} == {"ok"}
    await node.registryd("uninstall")
    assert node.files() == before


async def test_the_dead_socket_of_the_one_before_hides_none(node: NodeRoot, newest: Release) -> None:
    k3s = "/run/k3s/containerd/containerd.sock"
    own = WITH_PATH.replace(CERTS, "/etc/own")
    node.write({CONFIG: WITH_PATH, "/etc/own/c.toml": f"{own}[grpc]\n  address = '{k3s}'\n"})
    await node.start([newest.containerd], SOCKET)
    await node.registryd("install")
    await node.stop()
    node.at(SOCKET).unlink(missing_ok=True)
    await node.run(sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind('{SOCKET}')")
    await node.start([newest.containerd, "--config", "/etc/own/c.toml"], k3s)
    assert "/etc/own/_default/hosts.toml" in await node.registryd("install")
    async with agent_on(node):
        assert {(await node.doctor())[name][0] for name in ("config_path", "hosts", "pull")} == {"ok"}


async def test_one_path_with_a_colon_is_made_one_without(node: NodeRoot, newest: Release) -> None:
    node.write({CONFIG: WITH_PATH.replace(CERTS, "/etc/own:")})
    await node.start([newest.containerd], SOCKET)
    before = node.files()
    assert "must be restarted" in await node.registryd("install")
    assert [each.name for each in node.at("/etc/own").iterdir()] == ["_default"]
    await node.stop()
    await node.start([newest.containerd], SOCKET)
    async with agent_on(node):
        assert {(await node.doctor())[name][0] for name in ("config_path", "hosts", "pull")} == {"ok"}
    await node.registryd("uninstall")
    assert node.files() == before


async def test_one_that_sees_other_files_is_not_set_up_by_these(node: NodeRoot, newest: Release) -> None:
    """The same words in both, so that what it says of itself fits; only the file system below its root is its own."""
    node.write({CONFIG: WITH_PATH, "/opt/own/config.toml": WITH_PATH})
    in_its_own = ("unshare", "-m", "sh", "-c", f"mount --bind /opt/own /etc/containerd && exec {newest.containerd}")
    await node.start(in_its_own, SOCKET)
    before = node.files()
    with pytest.raises(CommandError, match="runs in a mount namespace of its own"):
        await node.registryd("install")
    assert node.files() == before
    async with agent_on(node):
        found = await node.doctor()
        assert (found["config_path"][0], "namespace of its own" in found["config_path"][1]) == ("problem", True)
        assert found["hosts"][0] == "warning"
        (root,) = re.findall(r"--root (\S+)", found["config_path"][1])
        await node.registryd("install", "--root", root)
        assert node.at("/opt/own/certs.d/_default/hosts.toml").exists()
        assert {(await node.doctor("--root", root))[name][0] for name in ("config_path", "hosts", "pull")} == {"ok"}
        await node.registryd("uninstall", "--root", root)
    assert node.files() == before


@pytest.mark.parametrize("release", ["1.6", "2.4"], indirect=True)
async def test_one_without_cri_is_said_to_be_of_no_use_to_a_kubelet(node: NodeRoot, release: Release) -> None:
    node.write({CONFIG: "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n"})
    async with running(node.command(release.containerd), log=node.folder.with_suffix(".no-cri.log")):
        await until(lambda: node.at(SOCKET).exists(), "its socket")
        before = node.files()
        try:
            said = await node.registryd("install")
        except CommandError as error:  # before 2.2 it looks nowhere then
            said = str(error)
        assert "CRI plugin" in said
        assert "disabled_plugins" in said
        assert "CRI plugin" in (await node.doctor())["containerd"][1]
        if release.version >= (2, 2):
            await node.registryd("uninstall")
        assert node.files() == before
