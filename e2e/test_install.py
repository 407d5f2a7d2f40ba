"""`registryd install` on real containerds: they ask the mirror first, all else still works, and it goes again."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.node_lab import NodeLab, config_without_path, running_node
from e2e.tls_registry import make_certificates, running_tls_registry
from lab.commands import run
from lab.containerd_config import Options, Places, config_toml
from lab.errors import CommandError, PullError
from lab.origin import running_origin
from registryd.node.disk import Disk
from registryd.node.facts import Containerd
from registryd.node.setup import NodeSetup
from tests.node.nodes import BreakingDisk, PowerCut, intent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.images import Image
    from lab.network import Network
    from lab.origin import Origin
    from lab.versions import Release

pytestmark = [pytest.mark.every_series, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Registries:
    """One content, three doors: plain HTTP from outside, on the node itself, and TLS that asks for a certificate."""

    plain: Origin
    local: str
    tls: str
    certificates: Path


@contextlib.asynccontextmanager
async def node_with_registries(
    release: Release, network: Network, folder: Path, image: Image
) -> AsyncIterator[tuple[NodeLab, Registries]]:
    host, outside = await network.add_host("node"), await network.add_host("origin")
    storage, local = folder / "o", "127.0.0.1:5000"
    tls = f"{outside.ipv4}:5443"
    certificates = make_certificates(folder / "c", outside.ipv4)
    async with (
        running_origin(storage, address=f"{outside.ipv4}:5000", namespace=outside.namespace) as plain,
        running_tls_registry(storage, tls, certificates, folder=folder / "t", namespace=outside.namespace),
        running_origin(folder / "l", address=local, namespace=host.namespace) as own,
        running_node(release, folder / "n", host.namespace) as node,
    ):
        for repository in ("demo/app", "proxy/demo/app"):
            await plain.push(image, repository)
        await own.push(image, "demo/app")
        yield node, Registries(plain, local, tls, certificates.folder)


async def test_the_mirror_comes_first_and_all_else_stays(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        works = zoo(node, registries)
        for registry in works:
            await node.pull(f"{registry}/demo/app:v1")
        before = node.files()
        assert node.asked() == []

        token = node.places.folder / "token"
        print(await node.registryd("install", "--token-file", str(token)))
        for registry in works:
            await node.pull(f"{registry}/demo/app:v1")
            asked = node.asked()
            assert asked, registry
            assert asked[0].method == "HEAD"
            assert {each.registry for each in asked} == {registry}
            assert {each.token for each in asked} == {token.read_text().strip()}
        with pytest.raises(PullError):
            await node.pull("new.lab/demo/app:v1")
        assert {each.registry for each in node.asked()} == {"new.lab"}
        await left_alone(node, "inline.lab")
        await node.pull("alone.lab/demo/app:v1")  # 1.6 and 1.7 hear of its server only now, and ask it last
        assert {each.registry for each in node.asked()} == {"alone.lab"}
        await node.dump()
        await node.restart()

        again = node.files()
        assert "Nothing to change" in await node.registryd("install", "--token-file", str(token))
        assert node.files() == again
        await node.registryd("uninstall")
        assert node.files() == before
        for registry in works:
            await node.pull(f"{registry}/demo/app:v1")
        assert node.asked() == []


async def test_interrupted_at_any_step_a_node_pulls_as_before_and_goes_back(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        works = zoo(node, registries)
        before = node.files()
        for steps in itertools.count():
            disk = BreakingDisk(steps, PowerCut())
            with contextlib.suppress(PowerCut):
                setup_of(node, disk).install(intent())
            for registry in works:
                await node.pull(f"{registry}/demo/app:v1")
            await node.dump()
            setup_of(node).uninstall()
            assert node.files() == before, f"step {steps}"
            if disk.taken <= steps:
                break
        print(f"{release}: pulled from {len(works)} registries after each of {steps} steps")
        assert steps > len(works)


def setup_of(node: NodeLab, disk: Disk | None = None) -> NodeSetup:
    containerd = Containerd(config=node.places.config, program=Path(node.release.containerd))
    return NodeSetup(state=node.places.folder / "state-of-registryd", containerd=containerd, disk=disk or Disk())


async def left_alone(node: NodeLab, registry: str) -> None:
    """1.6 and 1.7 put a host that is written inline first, 2.x does not see it: no place is right for ours."""
    assert "3172" not in (node.places.hosts / registry / "hosts.toml").read_text()
    with contextlib.suppress(PullError):
        await node.pull(f"{registry}/demo/app:v1")
    assert node.asked() == []


def zoo(node: NodeLab, registries: Registries) -> list[str]:
    """Folders of all kinds; returns the registries that can be pulled from, before as well as after."""
    url = registries.plain.url
    node.hosts(
        "several.lab",
        f"""\
# ops: ask before you change this
server = "http://127.0.0.1:9"  # nobody there

# the second hall is being rebuilt
[host."http://127.0.0.1:9"]
  capabilities = ["pull", "resolve"]

# Harbor
[host."{url}/v2/proxy"]
  override_path = true
  [host."{url}/v2/proxy".header]
    X-Hall = "1"
""",
    )
    node.hosts(
        "k3s.lab",
        f'# File generated by k3s. DO NOT EDIT.\n\nserver = "{url}"\n\n[host]\n\n[host."{url}/v2"]\n'
        '  capabilities = ["pull", "resolve"]\n',
    )
    node.hosts("inline.lab", f'server = "{url}"\n[host]\n"{url}" = {{capabilities = ["pull", "resolve"]}}\n')
    docker_style = node.hosts(registries.tls, None)
    for name in ("ca.crt", "client.cert", "client.key"):
        shutil.copy(registries.certificates / name, docker_style / name)
    node.hosts(registries.local, None)  # empty: the registry itself
    node.hosts("broken.lab", '[host."http://127.0.0.1:9"\n')
    works = ["several.lab", "k3s.lab", registries.tls, registries.local]
    node.hosts("alone.lab", f'server = "{url}"\n')
    return works if node.release.version < (2,) else [*works, "alone.lab"]


async def test_certificates_in_other_forms(release: Release, network: Network, folder: Path, image: Image) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        host, _, port = registries.tls.rpartition(":")
        underscored = node.hosts(f"{host}_{port}_", "")  # an empty file is no hosts.toml
        shutil.copy(registries.certificates / "ca.crt", underscored / "ca.crt")
        both = (registries.certificates / "client.cert").read_bytes() + (
            registries.certificates / "client.key"
        ).read_bytes()
        (underscored / "client.cert").write_bytes(both)
        reference = f"{registries.tls}/demo/app:v1"
        await node.pull(reference)
        before = node.files()
        await node.registryd("install")
        await node.pull(reference)
        assert node.asked()
        await node.registryd("uninstall")
        assert node.files() == before
        await node.pull(reference)


async def test_a_broken_file_is_left_and_named(release: Release, network: Network, folder: Path) -> None:
    host = await network.add_host("node")
    async with running_node(release, folder / "n", host.namespace) as node:
        node.hosts("broken.lab", '# mine\n[host."http://127.0.0.1:9"\n')
        said = await node.registryd("install")
        assert "broken.lab/hosts.toml" in said
        assert "line 2" in said
        with pytest.raises(PullError):
            await node.pull("broken.lab/demo/app:v1")
        assert node.asked() == []


async def test_some_registries_only(release: Release, network: Network, folder: Path, image: Image) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        node.hosts("_default", f'[host."{registries.plain.url}"]\n  capabilities = ["pull", "resolve"]\n')
        before = node.files()
        await node.registryd("install", "--registries", "some.lab")
        await node.pull("some.lab/demo/app:v1")
        assert {each.registry for each in node.asked()} == {"some.lab"}
        await node.pull("other.lab/demo/app:v1")
        assert node.asked() == []
        await node.registryd("uninstall")
        assert node.files() == before


async def test_without_resolve_only_digests_are_asked_for(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        node.hosts("several.lab", f'server = "{registries.plain.url}"\n[host."http://127.0.0.1:9"]\n')
        await node.registryd("install", "--no-resolve")
        await node.pull("several.lab/demo/app:v1")
        asked = node.asked()
        assert asked
        assert not [each for each in asked if each.method == "HEAD"]


async def test_config_path_is_set_where_nothing_sets_it(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        drop_ins = node.places.folder / "conf.d"
        drop_ins.mkdir()
        text = config_without_path(release, node.places, {"imports": [f"{drop_ins}/*.toml"]})
        node.write_config(f"# made by the image builder\n{text}")
        node.hosts("several.lab", f'server = "{registries.plain.url}"\n[host."http://127.0.0.1:9"]\n')
        await node.restart()
        before = node.files()

        said = await node.registryd("install", "--config-path", str(node.places.hosts))
        print(said)
        assert "must be restarted" in said
        assert [path.name for path in drop_ins.iterdir()] == (["zz-registryd.toml"] if release.version >= (2,) else [])
        assert str(node.places.hosts) in await node.dump()
        assert "must be restarted" in await node.registryd("install", "--config-path", str(node.places.hosts))
        await node.restart()
        assert "restart" not in await node.registryd("install", "--config-path", str(node.places.hosts))
        await node.pull("several.lab/demo/app:v1")
        assert node.asked()
        assert str(node.places.folder / "cni") in await node.dump()

        await node.registryd("uninstall")
        assert node.files() == before
        await node.restart()


@pytest.mark.parametrize("discards", [False, True], ids=["default", "discard_unpacked_layers"])
async def test_a_list_of_paths_becomes_one_where_it_is_ignored(
    release: Release, network: Network, folder: Path, image: Image, *, discards: bool
) -> None:
    async with node_with_registries(release, network, folder, image) as (node, registries):
        second = node.places.folder / "docker-certs.d"
        (second / registries.tls).mkdir(parents=True)
        for name in ("ca.crt", "client.cert", "client.key"):
            shutil.copy(registries.certificates / name, second / registries.tls / name)
        text = config_toml(release, node.places, Options(discard_unpacked_layers=discards))
        node.write_config(text.replace(str(node.places.hosts), f"{node.places.hosts}:{second}"))
        await node.restart()
        before = node.files()
        said = await node.registryd("install")
        # CRI's own pull, to which 2.1 goes back when layers are discarded, searches a list.
        assert ("must be restarted" in said) == (release.version >= (2, 1) and not discards)
        await node.restart()
        await node.pull(f"{registries.tls}/demo/app:v1")
        assert {each.registry for each in node.asked()} == {registries.tls}
        await node.registryd("uninstall")
        assert node.files() == before


async def test_mirrors_of_the_old_kind_are_a_conflict_and_nothing_is_touched(
    release: Release, network: Network, folder: Path
) -> None:
    host = await network.add_host("node")
    places = Places(folder / "n")
    plugin = "io.containerd.grpc.v1.cri" if release.version < (2,) else "io.containerd.cri.v1.images"
    mirrors = {"plugins": {plugin: {"registry": {"mirrors": {"docker.io": {"endpoint": ["http://m.lab"]}}}}}}
    places.folder.mkdir()
    config = config_without_path(release, places, mirrors)
    async with running_node(release, folder / "n", host.namespace, config) as node:
        before = node.files()
        with pytest.raises(CommandError, match=r"registry\.mirrors"):
            await node.registryd("install", "--config-path", str(places.hosts))
        assert node.files() == before


async def test_a_restart_that_fails_takes_everything_back(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    host = await network.add_host("node")
    places = Places(folder / "n")
    config = config_without_path(release, places, {})
    async with running_node(release, folder / "n", host.namespace, config) as node:
        before = node.files()
        with pytest.raises(CommandError, match="put back"):
            await node.registryd("install", "--config-path", str(places.hosts), "--restart-command", "false")
        assert node.files() == before
        restart = ("--restart-command", node.restart_command())
        said = await node.registryd("install", "--config-path", str(places.hosts), *restart)
        assert "was restarted" in said
        with contextlib.suppress(PullError):
            await node.pull("some.lab/demo/app:v1")
        assert node.asked()
        await node.registryd("uninstall", *restart)
        assert node.files() == before


async def test_a_restart_that_is_none_is_found_out(
    releases: tuple[Release, ...], network: Network, folder: Path
) -> None:
    """Nothing new listens at its socket; it is given some time for that."""
    host = await network.add_host("node")
    places = Places(folder / "n")
    config = config_without_path(releases[0], places, {})
    async with running_node(releases[0], folder / "n", host.namespace, config) as node:
        before = node.files()
        with pytest.raises(CommandError, match="no containerd started at"):
            await node.registryd("install", "--config-path", str(places.hosts), "--restart-command", "true")
        assert node.files() == before


async def test_containerds_own_default_configuration(release: Release, folder: Path) -> None:
    config, hosts = folder / "config.toml", folder / "certs.d"
    config.write_text(await run(release.containerd, "config", "default"))
    before = await run(release.containerd, "--config", str(config), "config", "dump")
    where = ["--containerd-config", config, "--containerd-program", release.containerd, "--state", folder / "s"]
    argv = [sys.executable, "-m", "registryd"]
    said = await run(*argv, "install", "--config-path", str(hosts), *map(str, where))
    assert "nobody asked" not in said
    after = await run(release.containerd, "--config", str(config), "config", "dump")
    changed = set(after.splitlines()) - set(before.splitlines())
    assert [line.split() for line in changed] == [["config_path", "=", line.split()[2]] for line in changed]
    assert len(changed) == 1
    await run(*argv, "uninstall", *map(str, where))
    assert await run(release.containerd, "--config", str(config), "config", "dump") == before
    assert not hosts.exists()
