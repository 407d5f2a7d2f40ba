"""`registryd install` and `uninstall` as commands: flags, lines, exit codes."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.__main__ import main
from registryd.commands.mirror_flags import node_socket
from registryd.node.host_root import HostRoot
from registryd.node.hosts_entry import endpoint_of
from registryd.node.hosts_file import hosts_in_order
from registryd.notation import Address
from tests.fakes.certificates import server_tls
from tests.fakes.listener import answering
from tests.fakes.nobody import as_nobody
from tests.node.nodes import CERTS, CONFIG_V2, FolderNode

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "".join(map(chr, range(65, 91))) + "0123456789"


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node").with_files(
        {"etc/containerd/config.toml": CONFIG_V2, f"{CERTS}/a.lab/hosts.toml": '[host."http://m"]\n'}
    )


@pytest.fixture
def run(node: FolderNode, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def registryd(*words: str) -> tuple[int, str]:
        code = main([*words, "--root", str(node.root)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return registryd


def test_it_says_each_file_and_why_and_what_is_left_to_do(run: Callable[..., tuple[int, str]]) -> None:
    code, said = run("install", "--containerd-version", "1.7.24")
    assert code == 0
    assert said.splitlines() == [
        "containerd 1.7.24, configured by /etc/containerd/config.toml",
        "  change   /etc/containerd/certs.d/a.lab/hosts.toml: registryd first, the rest as it was",
        f"  create   /{CERTS}/_default/hosts.toml: registryd first for every registry without a folder of its own",
        "No restart is needed: containerd reads hosts.toml files at every pull.",
        (
            "It is not known whether containerd looks for hosts.toml files in /etc/containerd/certs.d: "
            "no program was found."
        ),
    ]
    assert "Nothing to change" in run("install")[1]
    assert "as it was" in run("uninstall")[1]
    assert "Nothing to undo" in run("uninstall")[1]


def test_a_dry_run_shows_a_diff_without_secrets(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    before = node.state()
    code, said = run("install", "--dry-run", "--token-file", "/etc/registryd/token")
    assert code == 0
    assert '+[host."http://127.0.0.1:3172"]' in said
    assert "registryd_token_" not in said
    assert "dry run" in said
    assert node.state() == before


def test_the_token_is_made_kept_and_taken_away(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    before = node.state()
    assert "0600" in run("install", "--token-file", "/etc/registryd/token")[1]
    token = node.text("etc/registryd/token").strip()
    assert re.fullmatch(r"registryd_token_\S{40,}", token)
    assert f'"Registryd-Token" = "{token}"' in node.hosts("a.lab")
    assert "Nothing to change" in run("install", "--token-file", "/etc/registryd/token")[1]
    run("uninstall")
    assert node.state() == before


def test_another_release_is_told_whose_the_node_is(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    run("install", "--owner", "kube-system/first")
    before = node.state()
    code, said = run("install", "--owner", "images/second")
    assert (code, said.count("\n")) == (1, 1)
    assert "is set up for the release kube-system/first, not for images/second: uninstall that one first" in said
    for more in ((), ("--dry-run",)):
        code, said = run("uninstall", "--owner", "images/second", *more)
        assert (code, said.count("\n")) == (0, 1)
        assert said.startswith("Nothing to undo: this node is set up for the release kube-system/first, not for ")
    assert node.state() == before
    assert run("install", "--owner", "images/second", "--take-over")[0] == 0
    assert "as it was" in run("uninstall", "--owner", "images/second")[1]


@pytest.mark.parametrize("owner", ["registryd", "a/b/c", "A/b", "a/b\n", "a/-", "a/" + "b" * 300])
def test_an_owner_that_is_no_release_is_refused(run: Callable[..., tuple[int, str]], owner: str) -> None:
    code, said = run("uninstall", "--owner", owner)
    assert code == 2
    assert "--owner: expected NAMESPACE/NAME" in said


def test_a_token_that_is_there_is_used_and_stays(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    node.with_files({"etc/registryd/token": f"{TOKEN}\n"})
    before = node.state()
    run("install", "--token-file", "/etc/registryd/token")
    assert TOKEN in node.hosts("_default")
    run("uninstall")
    assert node.state() == before


def test_a_cache_is_written_after_us_and_taken_out_again(
    run: Callable[..., tuple[int, str]], node: FolderNode, tmp_path: Path
) -> None:
    server_tls(tmp_path, "127.0.0.1")
    node.with_files({"etc/ca.crt": (tmp_path / "ca.crt").read_text()})
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    before = node.state()
    cache = ("--registry.next_endpoints", "https://cache.lab:3172/")
    more = ("--registry.next_ca", "/etc/ca.crt", "--registry.next_token_file", str(tmp_path / "token"))
    code, said = run("install", *cache, *more, "--dry-run")
    assert (code, TOKEN in said, node.state()) == (0, False, before)
    code, said = run("install", *cache, *more)
    assert (code, "hold a token" in said) == (0, True)
    for registry, others in (("a.lab", ["http://m"]), ("_default", [])):
        assert hosts_in_order(node.hosts(registry)) == ["http://127.0.0.1:3172", "https://cache.lab:3172", *others]
    assert tomllib.loads(node.hosts("a.lab"))["host"]["https://cache.lab:3172"] == {
        "capabilities": ["pull", "resolve"],
        "dial_timeout": "3s",
        "ca": "/etc/ca.crt",
        "header": {"Registryd-Token": TOKEN},
    }
    run("uninstall")
    assert node.state() == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("http://cache.lab/v2",), 2, "is not http(s)://host[:port]"),
        (("http://cache.lab", "--registry.next_ca", "/etc/ca.crt"), 2, "is for https, which http://cache.lab is not"),
        (("https://cache.lab", "--registry.next_ca", "/etc/ca.crt"), 1, "/etc/ca.crt cannot be used"),
        (("https://cache.lab", "--registry.next_ca", "/etc/containerd/config.toml"), 1, "config.toml cannot be used"),
        (("http://cache.lab", "--registry.next_token_file", "/etc/none"), 1, "registry.next_token_file: /etc/none"),
    ],
)
def test_a_cache_that_would_break_pulls_is_refused(
    run: Callable[..., tuple[int, str]], node: FolderNode, words: tuple[str, ...], code: int, said: str
) -> None:
    before = node.state()
    outcome = run("install", "--registry.next_endpoints", *words)
    assert (outcome[0], said in outcome[1], node.state()) == (code, True, before), outcome


def test_flags_reach_the_entry(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    run("install", "--registries", "docker.io,ghcr.io", "quay.io", "--no-resolve", "--endpoint", "http://[::1]:4000")
    assert sorted(path.name for path in (node.root / CERTS).iterdir()) == ["a.lab", "docker.io", "ghcr.io", "quay.io"]
    assert '[host."http://[::1]:4000"]\n  capabilities = ["pull"]\n' in node.hosts("quay.io")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["install", "--registries", "not a host"], 2, "is not a registry"),
        (["install", "--frobnicate"], 2, "no flag"),
        (["install", "--token-file", "/etc/containerd/config.toml"], 1, "line 1"),
        (["install", "--config-path", "/etc/containerd/config.toml"], 1, "cannot change"),
        (["install", "--endpoint", "nonsense"], 2, "--endpoint: 'nonsense' is not http(s)://host[:port]"),
        (["install", "--endpoint", "http://127.0.0.1:3172/v2"], 2, "is not http(s)://host[:port]"),
        (["install", "--containerd-config", "/etc/containerd/confg.toml"], 1, "there is no /etc/containerd/confg.toml"),
    ],
)
def test_what_is_wrong_is_one_line(
    run: Callable[..., tuple[int, str]], node: FolderNode, words: list[str], code: int, said: str
) -> None:
    before = node.state()
    found, text = run(*words)
    assert (found, text.count("\n")) == (code, 1)
    assert said in text
    assert node.state() == before


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_who_may_not_is_told_who_may(run: Callable[..., tuple[int, str]], node: FolderNode, command: str) -> None:
    (node.root / "etc").chmod(0)
    with as_nobody():
        code, said = run(command)
    (node.root / "etc").chmod(0o755)
    assert (code, said.endswith("Permission denied; run this as root\n")) == (1, True)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_root_that_is_not_there_is_no_node(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--root", str(tmp_path / "hots")]) == 2
    assert "hots is not a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_containerd_without_a_configuration_is_given_one_where_it_looks_for_it(
    run: Callable[..., tuple[int, str]], node: FolderNode
) -> None:
    (node.root / "etc/containerd/config.toml").unlink()
    assert run("install", "--containerd-config", "/etc/containerd/config.toml")[0] == 0
    assert "config_path" in node.text("etc/containerd/config.toml")


def test_a_restart_is_asked_for_until_it_is_done(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    (node.root / "etc/containerd/config.toml").write_text("version = 2\n")
    assert "must be restarted" in run("install")[1]
    assert "must be restarted" in run("install")[1]
    assert "must be restarted" in run("uninstall")[1]


def test_an_uninstall_names_the_file_that_the_install_was_for(
    run: Callable[..., tuple[int, str]], node: FolderNode
) -> None:
    node.with_files({"opt/containerd/config.toml": "version = 2\n"})
    reads = "must be restarted, because it reads /opt/containerd/config.toml only"
    assert reads in run("install", "--containerd-config", "/opt/containerd/config.toml")[1]
    assert reads in run("uninstall", "--dry-run")[1]
    assert reads in run("uninstall")[1]


def test_a_restart_that_fails_takes_everything_back(run: Callable[..., tuple[int, str]], node: FolderNode) -> None:
    (node.root / "etc/containerd/config.toml").write_text("version = 2\n")
    before = node.state()
    code, said = run("install", "--restart-command", "none-such")
    assert code == 1
    assert "everything was put back" in said
    assert node.state() == before


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        (Address("127.0.0.1", 3172), "http://127.0.0.1:3172"),
        (Address("0.0.0.0", 4000), "http://127.0.0.1:4000"),
        (Address("::", 4000), "http://[::1]:4000"),
        (Address("::1", 4000), "http://[::1]:4000"),
    ],
)
def test_the_endpoint_follows_where_we_listen(listen: Address, endpoint: str) -> None:
    assert endpoint_of(listen) == endpoint


# Who is at the port


@pytest.mark.parametrize("command", [(), ("--dry-run",)])
def test_a_port_that_is_taken_stops_it_before_a_file_is_written(
    run: Callable[..., tuple[int, str]], node: FolderNode, command: tuple[str, ...]
) -> None:
    before = node.state()
    with answering(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n") as taken:
        code, said = run("install", "--endpoint", f"http://{taken}", *command)
    assert (code, said.count("\n")) == (1, 1)
    assert re.search(rf"{taken} is taken by \S+ \(process {os.getpid()}\) \(it answers with 200 as nginx\)", said)
    assert node.state() == before


def test_a_port_where_a_registryd_answers_is_ours(run: Callable[..., tuple[int, str]]) -> None:
    with answering(b"HTTP/1.1 404 Not Found\r\nServer: registryd\r\nContent-Length: 0\r\n\r\n") as ours:
        assert run("install", "--endpoint", f"http://{ours}")[0] == 0


# The agent's settings


def test_the_agents_settings_that_belong_to_the_node_are_told(
    run: Callable[..., tuple[int, str]], node: FolderNode
) -> None:
    shutil.rmtree(node.root / "etc/containerd")
    folder = "var/lib/rancher/k3s/agent/etc/containerd"
    node.with_files({f"{folder}/config.toml": CONFIG_V2.replace("/etc/containerd", f"/{folder}")})
    said = run("install", "--token-file", "/etc/registryd/token", "--endpoint", "http://127.0.0.1:3182")[1]
    assert said.splitlines()[-5:] == [
        "Settings that the agent needs on this node, and that are not given here:",
        "  agent    store.containerd_socket = /run/k3s/containerd/containerd.sock",
        f"  agent    authorization.hosts_dir = /{folder}/certs.d",
        "  agent    registry.token_file = /etc/registryd/token",
        "  agent    registry.listen = 127.0.0.1:3182",
    ]
    assert "Settings that the agent needs" not in run("uninstall")[1]


@pytest.mark.parametrize(
    ("given", "node_path"),
    [("/run/own.sock", "/run/own.sock"), ("{root}/run/own.sock", "/run/own.sock"), (None, None)],
)
def test_a_socket_may_be_named_as_it_is_seen_from_here(
    tmp_path: Path, given: str | None, node_path: str | None
) -> None:
    setting = Path(given.format(root=tmp_path)) if given else None
    assert node_socket(setting, HostRoot(tmp_path)) == (Path(node_path) if node_path else None)
