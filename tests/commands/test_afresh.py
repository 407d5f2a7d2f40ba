"""What runs afresh is a real agent in a process of its own."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registryd.identity.secret import new_secret

# What an idle agent has no use for, and why it was there: each is memory on every node (docs/benchmarks.md).
NEEDLESS = {
    "cyclopts": "the command line",
    "docstring_parser": "the command line",
    "rich": "the command line",
    "difflib": "the command line",
    "registryd.config.loader": "the settings, which are read once",
    "registryd.config.options": "the settings, which are read once",
    "tomllib": "the settings, and hosts.toml before an upstream is asked",
    "registryd.upstream.client": "upstreams before one is asked",
    "cryptography": "minting, which is a process of its own",
    "prometheus_client": "brings an HTTP server along",
    "http.server": "nobody's here",
    "wsgiref": "nobody's here",
    "importlib.metadata": "the version",
    "importlib.resources": "the page of the admin port",
    "zipfile": "the version",
    "csv": "the version",
    "tarfile": "images of trials",
    "statistics": "a median",
    "decimal": "a median",
    "zeroconf": "another discovery",
    "registryd.cluster.members.discovery.kubernetes": "another discovery",
    "registryd.store.containerd": "another store",
    "yaml": "Talos",
    "registryd.caching": "the cache",
    "registryd.doctor": "the doctor",
}
CHECKOUT = Path(__file__).parents[2]
TELLING = """
import sys
from registryd.__main__ import main
sys.exit(main(commands={"agent": ("tests.commands.starting:start", "")}))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_text(new_secret())
    secret.chmod(0o600)
    file = tmp_path / "agent.toml"
    file.write_text(f"""
        registry.listen = "127.0.0.1:0"
        admin.listen = "127.0.0.1:0"
        authorization.registries = {{ "ghcr.io" = "upstream" }}
        store = {{ kind = "directory", directory = "{tmp_path / "store"}" }}
        peers = {{ listen = "127.0.0.1:0", content_listen = "127.0.0.1:0", secret_file = "{secret}" }}
    """)
    return file


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)


def told(*words: str) -> dict[str, Any]:
    done = run("-B", "-c", TELLING, "agent", *words)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_an_idle_agent_has_nothing_loaded_that_it_does_not_need(config: Path) -> None:
    modules = set(told("--config", str(config))["modules"])
    assert {"grpc", "aiohttp", "registryd.identity.membership"} <= modules
    assert {needless: why for needless, why in NEEDLESS.items() if needless in modules} == {}


def test_an_idle_agent_has_not_read_the_authorities_of_the_host_but_can(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has is the cluster's, in a context for each end. aiohttp would have read some 150 at its import."""
    usual = told("--config", str(config))
    assert usual["cafile"] == ssl.get_default_verify_paths().cafile
    assert usual["authorities"] == 2
    monkeypatch.setenv("SSL_CERT_FILE", str(config))
    assert told("--config", str(config))["cafile"] == str(config)


def test_it_is_the_same_command_line_and_the_settings_of_all_sources(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRYD_STORE_NAMESPACES", "default,moby")
    said = told("--config", str(config), "--authorization.registries", "quay.io=open")
    assert said["arguments"] == [
        "-B",
        "-c",
        TELLING,
        "agent",
        "--config",
        str(config),
        "--authorization.registries",
        "quay.io=open",
    ]
    assert said["registries"] == {"quay.io": "open"}
    assert said["namespaces"] == ["default", "moby"]
    assert not [name for name in said["environment"] if name.startswith("_REGISTRYD")]


def test_settings_may_come_from_a_file_that_can_be_read_once(config: Path) -> None:
    pipe = config.with_name("pipe")
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(pipe.write_text, config.read_text())
        assert told("--config", str(pipe))["registries"] == {"ghcr.io": "upstream"}
        writing.result()


@pytest.mark.parametrize("command", ["agent", "cache"])
def test_what_cannot_start_is_one_line(config: Path, command: str) -> None:
    taken = config.with_name("taken")
    taken.touch()
    done = run(
        "-m", "registryd", command, "--config", str(config), "--store.directory", str(taken), "--log.level=error"
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert str(taken) in done.stderr


def test_a_setting_that_is_found_wrong_late_is_one_line(config: Path) -> None:
    # An address that is nobody's (RFC 5737).
    done = run(
        "-m", "registryd", "agent", "--config", str(config), "--admin.listen", "192.0.2.1:1", "--log.level=error"
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("registryd: admin.listen: ")
