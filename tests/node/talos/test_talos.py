"""What `registryd talos` prints, put into a configuration, makes Talos write the right hosts.toml files."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
import yaml

from registryd.__main__ import main
from tests.node.talos.generator import Talos, paths_of

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:3172"
V2 = f"{URL}/v2"

CONFIGS = {
    "none": "machine: {registries: {}}\n",
    "v1alpha1": """\
version: v1alpha1
machine:
  type: worker
  registries:
    mirrors:
      docker.io:
        endpoints: [https://harbor.lab/v2/hub, https://cache.lab/v2/hub/]
        overridePath: true
      ghcr.io:
        endpoints: [https://cache.lab]
        skipFallback: true
      registry.k8s.io: {endpoints: [https://cache.lab/k8s]}
    config:
      harbor.lab: {tls: {ca: PEM}}
      own.lab:5000: {tls: {ca: PEM}}
""",
    "documents": """\
machine:
  registries:
    mirrors:
      docker.io: {endpoints: [https://shadowed.lab]}
---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: docker.io
endpoints:
  - url: https://harbor.lab/v2/hub
    overridePath: true
  - url: https://cache.lab
skipFallback: true
---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: "*"
endpoints:
  - url: https://every.lab
---
apiVersion: v1alpha1
kind: RegistryTLSConfig
name: own.lab:5000
ca: PEM
""",
}


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["talos", *words]) == 0
    return capsys.readouterr().out


def test_nothing_where_a_configuration_was_named_is_not_a_node_without_mirrors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.yaml").write_text("\n")
    assert main(["talos", str(tmp_path / "empty.yaml")]) == 1
    assert "did talosctl fail" in capsys.readouterr().err
    assert main(["talos", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err.endswith("none.yaml cannot be read: No such file or directory\n")


def commented(text: str) -> str:
    """The patch that a comment says to apply first."""
    lines = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    start = next((n for n, line in enumerate(lines) if line.startswith("configuration has already")), len(lines))
    return "\n".join(lines[start + 1 :])


# Not documents as v1alpha1: those go before its entries, and the output says so.
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("none", "documents"),
        ("none", "v1alpha1"),
        ("v1alpha1", "documents"),
        ("v1alpha1", "v1alpha1"),
        ("documents",) * 2,
    ],
)
def test_ours_is_first_and_the_rest_is_as_before(
    name: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(CONFIGS[name])
    before = Talos().apply(CONFIGS[name]).hosts() if CONFIGS[name] else {}
    patch = run(capsys, str(file), "--format", form)

    talos = Talos()
    for text in (CONFIGS[name], commented(patch), patch):
        talos.apply(text)
    after = talos.hosts()

    assert set(after) == {*before, "_default"}
    for folder, hosts in after.items():
        old = before.get(folder, {"host": {}, "server": ""})
        assert paths_of(hosts["host"])[0] == V2
        assert paths_of(hosts["host"])[1:] == paths_of(old["host"])
        assert [h.get("ca") for h in list(hosts["host"].values())[1:]] == [h.get("ca") for h in old["host"].values()]
        assert hosts["server"] == old["server"]


def test_a_patch_alone_would_put_ours_last_so_the_rest_goes_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(CONFIGS["v1alpha1"])
    patch = run(capsys, str(file), "--format", "v1alpha1")
    wrong = Talos().apply(CONFIGS["v1alpha1"]).apply(patch).hosts()
    assert paths_of(wrong["docker.io"]["host"])[0] != V2
    assert yaml.safe_load(commented(patch))["machine"]["registries"]["mirrors"]["docker.io"] == {"$patch": "delete"}


def test_a_second_time_prints_the_same_mirrors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(CONFIGS["documents"])
    once = run(capsys, str(file))
    file.write_text(once)
    again = run(capsys, str(file))
    assert list(yaml.safe_load_all(again)) == list(yaml.safe_load_all(once))


def test_a_registry_by_name_takes_over_what_every_registry_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(CONFIGS["documents"])
    (document,) = yaml.safe_load_all(run(capsys, str(file), "--registries", "quay.io"))
    assert [each["url"] for each in document["endpoints"]] == [URL, "https://every.lab"]


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        ("machine: {features: {imageCache: {localEnabled: true}}}", "image cache listens on 127.0.0.1:3172"),
        ("kind: NetworkDefaultActionConfig\ningress: block", "ports: [3173, 3174]"),
        ("machine: {registries: {mirrors: {x.lab: {skipFallback: true}}}}", "x.lab has skipFallback"),
        ("machine: {registries: {config: {docker.io: {auth: {username: u}}}}}", "registry-1.docker.io"),
        ("machine: {}", "discard_unpacked_layers = false"),
        ("machine: {}", "without registry.token_file"),
    ],
)
def test_what_else_the_node_needs(capsys: pytest.CaptureFixture[str], tmp_path: Path, addition: str, said: str) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(addition)
    assert said in run(capsys, str(file))


def test_another_port_is_no_clash(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text("machine: {features: {imageCache: {localEnabled: true}}}")
    said = run(capsys, str(file), "--registry.listen", "127.0.0.1:3182")
    assert "image cache" not in said
    assert "http://127.0.0.1:3182" in said


@pytest.mark.parametrize("spec", [CONFIGS["v1alpha1"], yaml.safe_load(CONFIGS["v1alpha1"])], ids=["text", "table"])
def test_a_resource_of_talosctl_is_unwrapped(capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: object) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(yaml.safe_dump({"node": "n", "metadata": {"type": "x"}, "spec": spec}))
    assert "https://harbor.lab/v2/hub" in run(capsys, str(file))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- list",
        "machine: 3",
        "kind: RegistryMirrorConfig",
        "machine: {registries: {mirrors: {docker.io: {endpoints: 'https://m.lab'}}}}",
        "kind: RegistryMirrorConfig\nname: docker.io\nendpoints: [https://m.lab]",
    ],
)
def test_what_is_no_machine_configuration_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(text)
    assert main(["talos", str(file)]) == 1
    assert "machine configuration" in capsys.readouterr().err


# A cache as the next endpoint

PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(("name", "form"), [("v1alpha1", "documents"), ("v1alpha1", "v1alpha1"), ("documents",) * 2])
def test_a_cache_comes_right_after_us_with_its_authority(
    name: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ca = tmp_path / "machine.yaml", tmp_path / "ca.pem"
    file.write_text(CONFIGS[name])
    ca.write_text(PEM)
    cache = ("--registry.next_endpoints", "https://cache.corp:3172", "--registry.next_ca", str(ca))
    patch = run(capsys, str(file), "--format", form, *cache)
    before, talos = Talos().apply(CONFIGS[name]).hosts(), Talos()
    for text in (CONFIGS[name], commented(patch), patch):
        talos.apply(text)
    hosts = talos.hosts()
    authority = talos.settings["cache.corp:3172"]["tls"]["ca"]
    assert authority == (b64encode(PEM.encode()).decode() if form == "v1alpha1" else PEM)
    assert [host.get("ca") for host in hosts["_default"]["host"].values()][:2] == [None, "cache.corp:3172-ca.crt"]
    for folder, old in before.items():
        assert paths_of(hosts[folder]["host"])[:2] == [V2, "https://cache.corp:3172/v2"]
        assert paths_of(hosts[folder]["host"])[2:] == paths_of(old["host"])
    file.write_text(run(capsys, str(file), *cache))
    assert "name: cache.corp:3172" in file.read_text()
    again = list(yaml.safe_load_all(run(capsys, str(file), *cache)))
    assert again == list(yaml.safe_load_all(file.read_text()))


def test_a_cache_that_asks_for_a_token_is_none_for_talos(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cache = ("--registry.next_endpoints", "http://cache.corp:3172", "--registry.next_token_file", str(tmp_path / "t"))
    assert main(["talos", *cache]) == 2
    assert "cannot carry a header" in capsys.readouterr().err
