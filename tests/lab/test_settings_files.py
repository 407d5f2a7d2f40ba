"""The files that the lab writes for containerd and for the agent."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lab.containerd_config import Mirror, Options, Places, config_toml, hosts_toml
from lab.errors import LabError
from lab.toml_text import Table, merged, to_toml
from lab.versions import Release

PLACES = Places(Path("/lab/n"))
OLD = Release((1, 6, 20), Path("/usr/bin"))
NEW = Release((2, 1, 9), Path("/usr/bin"))
NEWEST = Release((2, 4, 2), Path("/usr/bin"))
TABLE: Table = {
    "text": 'with "quotes" and \\',
    "number": 3,
    "yes": True,
    "list": ["a", {"in.line": "b"}],
    "io.containerd.x": {"deeper": {"list": []}},
    "empty": {},
}


def test_toml_is_read_back_as_it_was() -> None:
    assert tomllib.loads(to_toml(TABLE)) == TABLE


def test_changes_go_deep() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": 5}) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}


@pytest.mark.parametrize(
    ("release", "version", "path"),
    [
        (OLD, 2, "io.containerd.grpc.v1.cri"),
        (NEW, 3, "io.containerd.cri.v1.images"),
        (NEWEST, 4, "io.containerd.cri.v1.images"),
    ],
)
def test_every_version_gets_its_own_form(release: Release, version: int, path: str) -> None:
    config = tomllib.loads(config_toml(release, PLACES, Options()))
    assert config["version"] == version
    assert config["plugins"][path]["registry"]["config_path"] == "/lab/n/certs.d"
    sockets = config.get("grpc") or config["plugins"]["io.containerd.server.v1.grpc"]
    assert sockets["address"] == "/lab/n/containerd.sock"


@pytest.mark.parametrize("version", [2, 3])
def test_an_older_form_can_be_had(version: int) -> None:
    config = tomllib.loads(config_toml(NEWEST, PLACES, Options(format=version)))
    assert config["version"] == version
    assert config["grpc"]["address"] == "/lab/n/containerd.sock"
    assert not [plugin for plugin in config["plugins"] if ".server." in plugin]


@pytest.mark.parametrize(("release", "version"), [(OLD, 3), (NEW, 4), (NEWEST, 5), (NEWEST, 1)])
def test_no_release_is_given_a_form_that_it_does_not_read(release: Release, version: int) -> None:
    with pytest.raises(LabError, match=f"version {version}"):
        config_toml(release, PLACES, Options(format=version))


@pytest.mark.parametrize("local", [False, True])
def test_the_number_of_downloads_does_not_change_who_pulls(*, local: bool) -> None:
    options = Options(max_concurrent_downloads=5, use_local_image_pull=local)
    plugins = tomllib.loads(config_toml(NEWEST, PLACES, options))["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["max_concurrent_downloads"] == (5 if local else 3)
    assert plugins["io.containerd.transfer.v1.local"]["max_concurrent_downloads"] == 5
    old = tomllib.loads(config_toml(OLD, PLACES, options))["plugins"]
    assert old["io.containerd.grpc.v1.cri"]["max_concurrent_downloads"] == 5


def test_extra_settings_win() -> None:
    options = Options(extra={"plugins": {"io.containerd.gc.v1.scheduler": {"startup_delay": "1s"}}, "root": "/else"})
    config = tomllib.loads(config_toml(OLD, PLACES, options))
    assert config["root"] == "/else"
    assert set(config["plugins"]) == {
        "io.containerd.gc.v1.scheduler",
        "io.containerd.grpc.v1.cri",
        "io.containerd.internal.v1.opt",
    }


def test_mirrors_keep_their_order() -> None:
    first = Mirror("http://127.0.0.1:3172", dial_timeout="1s", header={"x-token": "t"})
    second = Mirror("http://harbor.test/v2/proxy", capabilities=("pull",), override_path=True)
    hosts = tomllib.loads(hosts_toml((first, second), server="http://10.77.0.1:5000"))
    assert hosts["server"] == "http://10.77.0.1:5000"
    assert list(hosts["host"].items()) == [
        (first.url, {"capabilities": ["pull", "resolve"], "dial_timeout": "1s", "header": {"x-token": "t"}}),
        (second.url, {"capabilities": ["pull"], "override_path": True}),
    ]


def test_a_lone_server_gets_a_host_of_its_own() -> None:
    hosts = tomllib.loads(hosts_toml((), server="http://10.77.0.1:5000"))
    assert list(hosts["host"]) == ["http://10.77.0.1:5000"]
