"""Upstreams are asked where this node's containerd would ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.oci.reference import Registry
from registryd.upstream.containerd_hosts import ContainerdHosts
from registryd.upstream.endpoint import Site, default_endpoints

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.upstream.endpoint import Endpoint

OURSELVES = frozenset({Site("127.0.0.1", 3172)})
REGISTRY = Registry("registry.example:5000")

OURS = """
[host."http://127.0.0.1:3172"]
  capabilities = ["pull", "resolve"]
"""


def asked(folder: Path, registry: Registry = REGISTRY) -> list[Endpoint]:
    return list(ContainerdHosts([folder], ourselves=OURSELVES)(registry))


def roots(folder: Path, registry: Registry = REGISTRY) -> list[str]:
    return [str(endpoint.root) for endpoint in asked(folder, registry)]


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "hosts.toml").write_text(text)


def test_without_configuration_a_registry_is_where_its_name_says(tmp_path: Path) -> None:
    assert asked(tmp_path / "absent") == list(default_endpoints(REGISTRY))
    assert roots(tmp_path, Registry("docker.io")) == ["https://registry-1.docker.io/v2"]


def test_mirrors_come_first_and_the_registry_last_and_never_ourselves(tmp_path: Path) -> None:
    text = f'{OURS}[host."https://harbor.example/v2/hub"]\n  override_path = true\n[host."http://mirror.example"]\n'
    write(tmp_path, "registry.example:5000", text)
    assert roots(tmp_path) == [
        "https://harbor.example/v2/hub",
        "http://mirror.example/v2",
        "https://registry.example:5000/v2",
    ]


def test_the_server_is_asked_instead_of_the_registry(tmp_path: Path) -> None:
    write(tmp_path, "registry.example:5000", f'server = "http://10.0.0.1:5000"\n{OURS}')
    (endpoint,) = asked(tmp_path)
    assert str(endpoint.root) == "http://10.0.0.1:5000/v2"
    assert endpoint.is_configured


def test_hosts_that_may_not_resolve_are_not_asked(tmp_path: Path) -> None:
    write(tmp_path, "_default", '[host."https://a.example"]\n  capabilities = ["pull"]\n')
    assert roots(tmp_path) == ["https://registry.example:5000/v2"]


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["registry.example_5000_", "registry.example:5000", "_default"], 0),
        (["registry.example:5000", "_default"], 0),
        (["registry.example", "_default"], 1),
    ],
)
def test_the_first_folder_that_exists_counts(tmp_path: Path, names: list[str], used: int) -> None:
    for name in names:
        write(tmp_path, name, f'server = "https://{name.strip("_").replace(":", "-").replace("_", "-")}.test"\n')
    expected = names[used].strip("_").replace(":", "-").replace("_", "-")
    assert roots(tmp_path) == [f"https://{expected}.test/v2"]


def test_a_folder_is_called_as_the_registry_was_written(tmp_path: Path) -> None:
    for name in ("registry.example", "registry.example:443"):
        write(tmp_path, name, f'server = "https://{name.replace(":", "-")}.test"\n')
    for name in ("registry.example", "registry.example:443"):
        assert roots(tmp_path, Registry(name)) == [f"https://{name.replace(':', '-')}.test/v2"]


def test_an_empty_folder_hides_the_default(tmp_path: Path) -> None:
    (tmp_path / "registry.example:5000").mkdir()
    write(tmp_path, "_default", 'server = "https://default.test"\n')
    assert asked(tmp_path) == list(default_endpoints(REGISTRY))


@pytest.mark.parametrize(
    "text",
    [
        "not TOML",
        'host = "x"',
        'server = 1\n[host."x"]\ncapabilities = 3',
        'server = "ftp://x"',
        "\udcff",
        'server = "https://xn--8ix4.example"',
        f"a = {'[' * 2000}",
    ],
)
def test_a_file_that_containerd_ignores_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "hosts.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert asked(tmp_path) == list(default_endpoints(REGISTRY))


@pytest.mark.parametrize("value", ['"false"', '"true"', "1", "[true]"])
def test_what_is_no_switch_switches_no_check_off(tmp_path: Path, value: str) -> None:
    """containerd ignores such a file."""
    write(tmp_path, "_default", f'[host."https://harbor.example"]\n  skip_verify = {value}\n')
    assert asked(tmp_path)[0].trust.verify


def test_authorities_client_certificates_and_headers_go_with_their_host(tmp_path: Path) -> None:
    text = """
[host."https://harbor.example"]
  ca = "ca.crt"
  client = [["c.cert", "/abs/c.key"]]
  skip_verify = true
  [host."https://harbor.example".header]
    X-Token = ["one"]
"""
    write(tmp_path, "_default", text)
    trust, headers = asked(tmp_path)[0].trust, asked(tmp_path)[0].headers
    folder = tmp_path / "_default"
    assert trust.ca_files == (folder / "ca.crt",)
    assert (str(trust.client_certificate), str(trust.client_key)) == (str(folder / "c.cert"), "/abs/c.key")
    assert not trust.verify
    assert headers == (("X-Token", "one"),)


@pytest.mark.parametrize("client", ["[]", "[[]]", '""', '[["only.cert"]]', "[[], []]", "3", "[[3]]"])
def test_whatever_a_client_certificate_is_said_to_be_there_is_somewhere_to_ask(tmp_path: Path, client: str) -> None:
    write(tmp_path, "_default", f'[host."https://harbor.example"]\n  client = {client}\n')
    assert asked(tmp_path)


def test_a_file_that_would_take_long_to_read_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "registry.example:5000", f'server = "http://10.0.0.1:5000"\n{"#" * (64 << 10)}')
    assert asked(tmp_path) == list(default_endpoints(REGISTRY))
