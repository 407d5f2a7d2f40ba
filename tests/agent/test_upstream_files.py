"""A file that a cache cannot read is told of when it starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from registryd.agent.upstream_files import unreadable_files
from registryd.config.cache import RegistryUpstream, UpstreamsSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_there_is_not_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    table = RegistryUpstream(username="me", password_file=file, ca=file, client_cert=file, client_key=file)
    assert list(unreadable_files(UpstreamsSettings(docker_config=file, registries={"a.lab": table}))) == []
    assert list(unreadable_files(UpstreamsSettings())) == []


def test_each_that_is_not_is_told_with_its_setting(tmp_path: Path) -> None:
    none = tmp_path / "none"
    table = RegistryUpstream(username="me", password_file=none, ca=none, client_cert=none, client_key=none)
    told = list(unreadable_files(UpstreamsSettings(docker_config=none, registries={"a.lab": table})))
    assert [line.partition(":")[0] for line in told] == [
        "upstreams.docker_config",
        *(f'upstreams.registries."a.lab".{key}' for key in ("password_file", "ca", "client_cert", "client_key")),
    ]
    assert all(f"{none}: No such file or directory" in line for line in told)


def test_a_named_pipe_is_told_of_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (told,) = unreadable_files(UpstreamsSettings(docker_config=tmp_path / "pipe"))
    assert "is a pipe or a device" in told
