"""What we read out of a configuration is what containerd itself makes of it, for every mixture of formats."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.node.containerd_config import read_config
from registryd.node.errors import ConfigConflict, ContainerdRefused
from registryd.node.host_commands import HostCommands
from registryd.node.host_root import HostRoot
from registryd.node.program import ContainerdProgram
from registryd.node.release import Release as NodeRelease
from registryd.node.tree import NodeTree

if TYPE_CHECKING:
    from lab.versions import Release
    from registryd.node.images_settings import ContainerdImagesSettings

pytestmark = [pytest.mark.every_series, pytest.mark.timeout(300)]

OLDEST, OLD, NEW = "plugins.cri", 'plugins."io.containerd.grpc.v1.cri"', "plugins.'io.containerd.cri.v1.images'"
TABLES = {None: OLDEST, 1: OLDEST, 2: OLD, 3: NEW, 4: NEW}
ROOT = HostRoot()


def version(number: int | None) -> str:
    return "" if number is None else f"version = {number}\n"


def path_of(table: str, path: str) -> str:
    return f"[{table}.registry]\nconfig_path = '{path}'\n"


def other_of(table: str) -> str:
    return f"[{table}]\nmax_concurrent_downloads = 7\n"


def discarding(table: str, *, with_runtimes: bool) -> str:
    if table == NEW:
        return f"[{table}]\ndiscard_unpacked_layers = true\n"
    runtimes = f"[{table}.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n" if with_runtimes else ""
    return f"[{table}.containerd]\ndiscard_unpacked_layers = true\n{runtimes}"


def mains(imports: str) -> list[str]:
    found = ["", "# nothing\n"]
    forms = [*TABLES.items(), (None, OLD), (None, NEW), (2, NEW), (3, OLD), (4, OLD)]
    for number, table in forms:
        found += [version(number) + imports + settings for settings in ("", path_of(table, "/main"), other_of(table))]
    found += [version(n) + discarding(TABLES[n], with_runtimes=yes) for n in (2, 3, 4) for yes in (False, True)]
    found += [version(2) + path_of(OLD, "/old") + path_of(NEW, "/new"), path_of(OLDEST, "/oldest") + path_of(NEW, "/n")]
    return list(dict.fromkeys(found))


def drop_ins() -> list[str]:
    formats = [*TABLES.items(), (None, OLD), (None, NEW)]
    written = [
        version(number) + each for number, table in formats for each in (path_of(table, "/drop"), other_of(table))
    ]
    return ["", *dict.fromkeys(written)]


def seen(images: ContainerdImagesSettings) -> tuple[str, bool, bool]:
    return images.config_path, images.discards_layers, images.pulls_locally


def ours(config: Path, release: NodeRelease) -> tuple[str, bool, bool] | None:
    try:
        return seen(read_config(NodeTree(ROOT), config, release).images)
    except ConfigConflict:
        return None


def theirs(program: ContainerdProgram, config: Path) -> tuple[str, bool, bool] | None:
    try:
        images = program.images(config)
    except ContainerdRefused:
        return None
    assert images is not None
    return seen(images)


async def test_nobody_starts_with_a_later_format_and_we_change_nothing(release: Release, folder: Path) -> None:
    config = folder / "config.toml"
    config.write_text(version(5))
    assert ours(config, NodeRelease(release.version)) is None
    program = ContainerdProgram(HostCommands(ROOT), Path(release.containerd))
    # 1.6 does not look, and would find nothing.
    assert theirs(program, config) == (("", False, False) if release.version < (1, 7) else None)


async def test_we_read_what_containerd_reads(release: Release, folder: Path) -> None:
    config, drop_in = folder / "config.toml", folder / "conf.d" / "50.toml"
    drop_in.parent.mkdir()
    program = ContainerdProgram(HostCommands(ROOT), Path(release.containerd))
    mixtures = list(itertools.product(mains(f'imports = ["{drop_in.parent}/*.toml"]\n'), drop_ins()))
    # Tables of before there were versions count on it in some mixtures, by no rule that was found; nobody has these.
    is_2_1 = (2, 0) <= release.version < (2, 3)
    differing = []
    for main, dropped in mixtures:
        if (dropped and "imports" not in main) or (is_2_1 and OLDEST in main + dropped):
            continue
        config.write_text(main)
        drop_in.write_text(dropped)
        expected = await asyncio.to_thread(theirs, program, config)
        if expected is None and release.version < (2,):
            continue  # 1.x refuses keys of other formats, which we need not know
        found = ours(config, NodeRelease(release.version))
        if found != expected:
            differing.append((main, dropped, found, expected))
    print(f"{release}: {len(mixtures)} mixtures, {len(differing)} read in another way")
    assert not differing, differing[:3]
