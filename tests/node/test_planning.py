"""What is planned for each kind of node: which files, with which meaning, and what is said about the rest."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registryd.node.change import ChangePlan, FileChange, FileKind
from registryd.node.errors import ConfigConflict, UnsupportedNode
from registryd.node.hosts_entry import MirrorEntry
from registryd.node.hosts_file import hosts_in_order
from registryd.node.preview import diff_of
from registryd.node.tree import FileImage
from tests.node.nodes import CERTS, CONFIG_V2, CONFIG_V3, URL, FolderNode, intent
from tests.node.zoo import ZOO

if TYPE_CHECKING:
    from registryd.node.intent import Intent
    from registryd.node.setup import SetupOutcome


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node")


def install(node: FolderNode, kind: str, release: str = "1.7.24", wish: Intent | None = None) -> SetupOutcome:
    return node.with_files(ZOO[kind]).setup(release).install(wish or intent())


def document(node: FolderNode, registry: str) -> dict[str, Any]:
    return tomllib.loads(node.hosts(registry))


# hosts.toml


def test_certificates_in_dockers_style_become_the_registrys_own(node: FolderNode) -> None:
    install(node, "docker style")
    found = document(node, "reg.lab:5000")
    assert found["ca"] == ["ca.crt"]
    assert found["client"] == [["both.cert", "both.cert"], ["client.cert", "client.key"]]
    assert "server" not in found
    assert list(found["host"]) == [URL]


def test_an_empty_folder_falls_back_to_its_registry(node: FolderNode) -> None:
    install(node, "empty folder and empty file")
    assert list(document(node, "empty.lab")) == ["host"]
    assert document(node, "blank.lab")["ca"] == ["ca.crt"]


def test_what_containerd_ignores_is_left_and_said_with_its_line(node: FolderNode) -> None:
    outcome = install(node, "broken")
    assert URL not in node.hosts("broken.lab") + node.hosts("wrong.lab")
    broken, wrong = outcome.plan.notes
    assert "line 1" in broken
    assert 'host."http://x".override_path' in wrong


def test_what_has_the_name_of_a_file_and_is_none_stops_no_other(node: FolderNode) -> None:
    node.with_files({f"{CERTS}/folder.lab/hosts.toml/x": "", f"{CERTS}/pipe.lab": None})
    os.mkfifo(node.root / CERTS / "pipe.lab/hosts.toml")
    outcome = node.setup("2.4.2").install(intent())
    assert URL in node.hosts("_default")
    assert [note.split("hosts.toml: ")[1].split(",")[0] for note in outcome.plan.notes] == [
        "containerd ignores this file"
    ] * 2
    node.setup("2.4.2").uninstall()
    assert not (node.root / CERTS / "_default").exists()


def test_an_address_that_containerd_cannot_read_is_not_written(node: FolderNode) -> None:
    wish = replace(intent(), next_entries=(MirrorEntry("http://[fd00::1]:3172"),))
    before = node.state()
    with pytest.raises(ConfigConflict, match=r"1\.7\.24 ignores .* give http://\[fd00::1\]:3172 by a host name"):
        node.setup("1.7.24").install(wish)
    assert node.state() == before
    node.with_files({"etc/containerd/config.toml": CONFIG_V3}).setup("2.4.2").install(wish)


def test_a_lone_server_keeps_its_meaning_on_2(node: FolderNode) -> None:
    install(node, "server only", "2.1.9")
    assert hosts_in_order(node.hosts("alone.lab")) == [URL]
    assert document(node, "alone.lab")["server"] == "https://new.lab"


def test_a_lone_server_that_1_ignores_comes_after_the_registry_itself(node: FolderNode) -> None:
    install(node, "server only", "1.7.24")
    assert hosts_in_order(node.hosts("alone.lab")) == [URL, "https://alone.lab"]


def test_a_lone_server_is_left_where_the_version_is_not_known(node: FolderNode) -> None:
    (note,) = install(node, "server only", "").plan.notes
    assert "not known which containerd" in note
    assert URL not in node.hosts("alone.lab")


def test_the_own_default_of_a_node_keeps_its_mirror(node: FolderNode) -> None:
    install(node, "default of its own")
    assert hosts_in_order(node.hosts("_default")) == [URL, "https://cache.lab"]


def test_a_registry_of_its_own_takes_over_what_default_said(node: FolderNode) -> None:
    install(node, "default of its own", wish=intent(registries=("quay.io",)))
    host = document(node, "quay.io")["host"]["https://cache.lab"]
    assert host["ca"] == f"/{CERTS}/_default/cache.crt"
    assert URL not in node.hosts("_default")


def test_later_paths_are_carried_into_the_first(node: FolderNode) -> None:
    install(node, "list of paths", "2.1.9")
    assert hosts_in_order(node.hosts("a.lab")) == [URL, "http://mirror.lab"]
    assert document(node, "b.lab:443")["ca"] == ["/etc/docker/certs.d/b.lab:443/ca.crt"]
    assert document(node, "c.lab")["host"]["https://c2.lab"]["ca"] == "/etc/docker/certs.d/c.lab/c2.crt"
    assert 'config_path = "/etc/containerd/certs.d"' in node.text("etc/containerd/config.toml")


def test_what_cannot_be_carried_over_is_not_hidden(node: FolderNode) -> None:
    node.with_files(ZOO["list of paths"])
    node.with_files({"etc/docker/certs.d/inline.lab/hosts.toml": '[host]\n"http://m" = {capabilities = ["pull"]}\n'})
    notes = node.setup("1.7.24").install(intent()).plan.notes
    assert not (node.root / CERTS / "_default").exists()
    assert any("would hide /etc/docker/certs.d/inline.lab" in note for note in notes)


def test_default_is_written_last(node: FolderNode) -> None:
    changes = install(node, "list of paths", "2.1.9").plan.changes
    names = [change.path.parent.name for change in changes]
    assert names[-2:] == ["_default", "containerd"]


def test_a_token_makes_files_private_and_is_not_shown(node: FolderNode) -> None:
    setup = node.with_files(ZOO["mirrors and comments"]).setup()
    shown = diff_of(setup.preview_install(intent(has_token=True)).plan)
    assert "a-token" not in shown
    assert "c2VjcmV0" not in shown
    assert "mode 0644 becomes 0600" in shown
    setup.install(intent(has_token=True))
    for registry in ("docker.io", "_default"):
        assert (node.root / CERTS / registry / "hosts.toml").stat().st_mode & 0o777 == 0o600
    assert node.text("etc/registryd/token") == "a-token\n"


@pytest.mark.parametrize(
    "written",
    [
        '[host."https://m"]\n[host."https://m".header]\nAuthorization = [\n"SECRET",\n]\n',
        '[host."https://m"]\n[host."https://m".HEADER]\nAuthorization = "SECRET"\n',
        '[host]\n"https://m" = {capabilities = ["pull"], header = {Authorization = "SECRET"}}\n',
        'host."https://m".header.Authorization = "SECRET"\n',
        '[host."https://m"]\nheader.Authorization = """\nSECRET"""\n',
        'server = "https://user:SECRET@m.lab"\n',
        '[host."https://user:SECRET@m.lab"]\n',
    ],
)
def test_no_secret_of_a_file_is_shown(written: str) -> None:
    image = FileImage(f"{written}[other]\nkey = 1\n".encode())
    shown = diff_of(ChangePlan((FileChange(Path("/hosts.toml"), FileKind.HOSTS, image, None, "why"),), None, None))
    assert "SECRET" not in shown
    assert "-[other]\n-key = 1\n" in shown


def test_of_a_file_that_is_not_toml_nothing_is_shown() -> None:
    image = FileImage(b'header = {Authorization = "SECRET",\n')
    shown = diff_of(ChangePlan((FileChange(Path("/hosts.toml"), FileKind.HOSTS, image, None, "why"),), None, None))
    assert "SECRET" not in shown


def test_a_file_that_somebody_else_may_write_is_not_written_through(node: FolderNode) -> None:
    """Where it is staged there may be a link to another file, or one that its owner has open."""
    node.with_files({"etc/containerd/config.toml": CONFIG_V2, f"{CERTS}/a.lab/hosts.toml": '[host."http://m"]\n'})
    staged, victim = node.root / CERTS / "a.lab" / ".hosts.toml.registryd-new", node.root / "victim"
    victim.write_text("as it was")
    os.link(victim, staged)
    with victim.open() as read_along:
        node.setup().install(intent(has_token=True))
        assert read_along.read() == "as it was"
    assert node.root.joinpath(CERTS, "a.lab", "hosts.toml").stat().st_nlink == 1


def test_a_link_is_followed_below_the_root_and_stays_a_link(node: FolderNode) -> None:
    node.with_files({"etc/containerd/config.toml": CONFIG_V2, "srv/certs/a.lab/hosts.toml": '[host."http://m"]\n'})
    (node.root / CERTS).symlink_to("/srv/certs")
    node.setup().install(intent())
    assert hosts_in_order(node.text("srv/certs/a.lab/hosts.toml")) == [URL, "http://m"]
    assert (node.root / CERTS).is_symlink()
    assert not (node.root / CERTS).exists()  # seen from outside, the link leads elsewhere


def test_a_file_that_several_folders_share_is_changed_once(node: FolderNode) -> None:
    node.with_files({"etc/containerd/config.toml": CONFIG_V2, "srv/hosts.toml": '[host."http://m"]\n'})
    node.with_files({f"{CERTS}/a.lab": None, f"{CERTS}/b.lab": None})
    for registry in ("a.lab", "b.lab"):
        (node.root / CERTS / registry / "hosts.toml").symlink_to("/srv/hosts.toml")
    before = node.state()
    changes = node.setup().install(intent()).plan.changes
    assert [change.path.name for change in changes] == ["hosts.toml", "hosts.toml"]
    assert hosts_in_order(node.text("srv/hosts.toml")) == [URL, "http://m"]
    node.setup().uninstall()
    assert node.state() == before


# containerd's configuration


@pytest.mark.parametrize(
    ("kind", "release", "file"),
    [
        ("nothing but a config", "1.7.24", "etc/containerd/config.toml"),
        ("nothing but a config", "2.1.9", "etc/containerd/config.toml"),
        ("bare", "1.7.24", "etc/containerd/config.toml"),
        ("bare", "2.1.9", "etc/containerd/config.toml"),
        ("format 3 with drop-ins", "2.1.9", "etc/containerd/conf.d/zz-registryd.toml"),
        ("format 2 with drop-ins", "2.1.9", "etc/containerd/conf.d/zz-registryd.toml"),
        ("format 2 with drop-ins", "1.7.24", "etc/containerd/conf.d/10-cri.toml"),
        ("format 2 with drop-ins", "", "etc/containerd/conf.d/10-cri.toml"),
    ],
)
def test_config_path_is_set_where_it_counts(node: FolderNode, kind: str, release: str, file: str) -> None:
    outcome = install(node, kind, release)
    assert str(outcome.plan.changes[-1].path) == f"/{file}"
    assert outcome.restart_due
    found = tomllib.loads(node.text(file))
    plugin = "io.containerd.cri.v1.images" if found["version"] == 3 else "io.containerd.grpc.v1.cri"
    assert found["plugins"][plugin]["registry"] == {"config_path": "/etc/containerd/certs.d"}


def test_a_drop_in_has_the_format_of_the_main_file(node: FolderNode) -> None:
    install(node, "format 2 with drop-ins", "2.1.9")
    assert "version = 2" in node.text("etc/containerd/conf.d/zz-registryd.toml")


@pytest.mark.parametrize("text", [CONFIG_V2, CONFIG_V3])
def test_a_single_config_path_is_left(node: FolderNode, text: str) -> None:
    node.with_files({"etc/containerd/config.toml": text})
    assert not node.setup("2.1.9").install(intent()).restart_due
    assert node.text("etc/containerd/config.toml") == text


def test_a_list_is_left_where_it_works(node: FolderNode) -> None:
    assert not install(node, "list of paths", "1.7.24").restart_due
    assert "certs.d:/etc/docker" in node.text("etc/containerd/config.toml")


def test_a_list_is_left_where_2_1_pulls_by_itself(node: FolderNode) -> None:
    plugin = "[plugins.'io.containerd.cri.v1.images'.registry]\n"
    text = CONFIG_V3.replace(
        plugin, f"[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n{plugin}"
    )
    node.with_files({"etc/containerd/config.toml": text.replace("certs.d", "certs.d:/etc/docker/certs.d")})
    assert not node.setup("2.1.9").install(intent()).restart_due


def test_2_2_searches_a_list_by_default(node: FolderNode) -> None:
    node.with_files({"etc/containerd/config.toml": "version = 3\n", "etc/docker/certs.d/b.lab/ca.crt": "a certificate"})
    node.setup("2.2.0").install(intent())
    assert document(node, "b.lab")["ca"] == ["/etc/docker/certs.d/b.lab/ca.crt"]
    assert 'config_path = "/etc/containerd/certs.d"' in node.text("etc/containerd/config.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."x"]\n', r"registry\.mirrors"),
        (
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."x".tls]\nca_file = "c"\n',
            r"registry\.configs",
        ),
        ("version = 7\n", "version 7"),
        ("not toml", "not TOML"),
        ('version = 2\nplugins = {"io.containerd.grpc.v1.cri" = {sandbox_image = "x"}}\n', "yourself"),
    ],
)
def test_what_containerd_would_refuse_is_refused_here(node: FolderNode, text: str, said: str) -> None:
    node.with_files({"etc/containerd/config.toml": text})
    before = node.state()
    with pytest.raises(ConfigConflict, match=said):
        node.setup().install(intent())
    assert node.state() == before


def test_credentials_of_the_old_kind_may_stay(node: FolderNode) -> None:
    text = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."x".auth]\nusername = "u"\n'
    node.with_files({"etc/containerd/config.toml": text})
    node.setup().install(intent())
    assert node.text("etc/containerd/config.toml").startswith(text)


@pytest.mark.parametrize(
    ("release", "table"),
    [
        ("1.6.20", "cri"),
        ("2.1.9", "io.containerd.cri.v1.images"),  # it passes over the old one in such a file
        ("2.4.2", "cri"),
    ],
)
def test_a_file_without_a_version_is_written_as_it_counts(node: FolderNode, release: str, table: str) -> None:
    node.with_files({"etc/containerd/config.toml": "[plugins.cri]\nsandbox_image = 'p'\n"})
    before = node.state()
    node.setup(release).install(intent())
    found = tomllib.loads(node.text("etc/containerd/config.toml"))
    assert found["plugins"][table]["registry"] == {"config_path": "/etc/containerd/certs.d"}
    assert "version" not in found
    node.setup(release).uninstall()
    assert node.state() == before


# Distributions


def test_talos_is_told_to_use_documents(node: FolderNode) -> None:
    node.with_files({"etc/os-release": 'NAME="Talos"\nID=talos\n'})
    with pytest.raises(UnsupportedNode, match="registryd talos"):
        node.setup().install(intent())


def test_k3s_is_found_and_its_template_named(node: FolderNode) -> None:
    config = "var/lib/rancher/k3s/agent/etc/containerd/config.toml"
    node.with_files({config: "version = 2\n", "etc/containerd/config.toml": CONFIG_V2})
    with pytest.raises(ConfigConflict, match=r"config\.toml\.tmpl"):
        node.setup().install(intent())


def test_another_config_path_takes_everything_with_it(node: FolderNode) -> None:
    install(node, "mirrors and comments", wish=intent(config_path="/etc/registryd/certs.d"))
    text = node.text("etc/registryd/certs.d/docker.io/hosts.toml")
    assert hosts_in_order(text)[0] == URL
    assert tomllib.loads(text)["host"]["https://harbor.lab/v2/hub"]["ca"] == f"/{CERTS}/docker.io/harbor.crt"
