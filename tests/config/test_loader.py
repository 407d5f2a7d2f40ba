from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.config.agent import AuthorizationMode, PeerTransport, Settings, SettingsError
from registryd.config.loader import load
from registryd.config.options import all_options
from registryd.notation import ADDRESS, Address


def load_file(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "registryd.toml"
    file.write_text(text)
    return load(flags={}, environment={}, file=file)


def test_nothing_given_is_the_default() -> None:
    assert load(flags={}, environment={}, file=None) == Settings()


PAIRS_EXPECTED = "expected a list, each name=value with one of public, upstream, open"
SOURCES = ["flag", "environment", "file"]


@pytest.mark.parametrize("given", [c for size in (1, 2, 3) for c in combinations(SOURCES, size)], ids="+".join)
def test_a_flag_goes_before_a_variable_and_that_before_the_file(tmp_path: Path, given: tuple[str, ...]) -> None:
    file = tmp_path / "registryd.toml"
    file.write_text("[peers]\nfind_timeout = '3s'\n")
    settings = load(
        flags={"peers.find_timeout": ["1s"]} if "flag" in given else {},
        environment={"REGISTRYD_PEERS_FIND_TIMEOUT": "2s"} if "environment" in given else {},
        file=file if "file" in given else None,
    )
    assert settings.peers.find_timeout == min(1.0 + SOURCES.index(source) for source in given)


def test_a_value_of_a_better_source_replaces_a_list_whole(tmp_path: Path) -> None:
    file = tmp_path / "registryd.toml"
    file.write_text("[discovery]\npeers = ['a:1', 'b:2']\n")
    settings = load(flags={"discovery.peers": ["c:3"]}, environment={}, file=file)
    assert settings.discovery.peers == (Address("c", 3),)


def test_a_variable_names_the_file_unless_a_flag_does(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"[agent]\nnode_name = '{name}'\n")
    environment = {"REGISTRYD_CONFIG": str(tmp_path / "one")}
    assert load(flags={}, environment=environment, file=None).agent.node_name == "one"
    assert load(flags={}, environment=environment, file=tmp_path / "two").agent.node_name == "two"


def test_a_file_may_hold_every_kind_of_value(tmp_path: Path) -> None:
    settings = load_file(
        tmp_path,
        """
        [authorization]
        registries = {"ghcr.io" = "upstream", "registry.local:5000" = "open"}
        [store]
        namespaces = ["k8s.io", "default"]
        directory = "/srv/registryd"
        [peers]
        listen = "[::1]:0"
        insecure = true
        fanout_limit = 8
        transport = "plain"
        backoff_max = "1m30s"
        [discovery]
        peers = []
        """,
    )
    assert settings.authorization.registries == {
        "ghcr.io": AuthorizationMode.UPSTREAM,
        "registry.local:5000": AuthorizationMode.OPEN,
    }
    assert settings.store.namespaces == ("k8s.io", "default")
    assert settings.store.directory == Path("/srv/registryd")
    assert settings.peers.listen == Address("::1", 0)
    assert (settings.peers.insecure, settings.peers.fanout_limit) == (True, 8)
    assert settings.peers.transport is PeerTransport.PLAIN
    assert settings.peers.backoff_max == 90
    assert settings.discovery.peers == ()


def test_lists_and_tables_have_a_notation_in_one_line() -> None:
    environment = {
        "REGISTRYD_DISCOVERY_PEERS": "a:1, b:2",
        "REGISTRYD_AUTHORIZATION_REGISTRIES": "ghcr.io=upstream,quay.io=open",
        "REGISTRYD_REGISTRY_TOKEN_FILE": "",
    }
    settings = load(flags={"store.namespaces": ["a", "b,c"]}, environment=environment, file=None)
    assert settings.discovery.peers == (Address("a", 1), Address("b", 2))
    assert settings.authorization.registries == {"ghcr.io": "upstream", "quay.io": "open"}
    assert settings.store.namespaces == ("a", "b", "c")
    assert settings.registry.token_file is None


@pytest.mark.parametrize(
    "variable",
    ["REGISTRYD_SERVICE_HOST", "REGISTRYD_SERVICE_PORT_GRPC", "REGISTRYD_PORT", "REGISTRYD_PORT_3173_TCP_ADDR", "PATH"],
)
def test_variables_that_kubernetes_sets_for_a_service_are_not_ours(variable: str) -> None:
    assert load(flags={}, environment={variable: "tcp://10.0.0.1:3173"}, file=None) == Settings()


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            "[peers]\nfind_timout = '1s'",
            "peers.find_timout: there is no such setting (in FILE); did you mean peers.find_timeout?",
        ),
        ("[admin]\nport = 1", "admin.port: there is no such setting (in FILE); there are admin.listen"),
        ("[tls]\ncert = 'x'", "tls.cert: there is no such setting (in FILE); `registryd agent --help` lists them"),
        ("listen = ':80'", "listen: there is no such setting (in FILE); `registryd agent --help` lists them"),
        ("peers = 3", "peers: there is no such setting (in FILE); `registryd agent --help` lists them"),
        (
            "[peers]\nfind_timeout = 3",
            "peers.find_timeout: expected a duration such as 3s, 200ms or 1m30s; got '3' (from FILE)",
        ),
        (
            "[store]\nkind = 'docker'",
            "store.kind: expected one of auto, containerd, directory; got 'docker' (from FILE)",
        ),
        ("[peers]\ninsecure = 'yes'", "peers.insecure: expected true or false; got 'yes' (from FILE)"),
        ("[peers]\nfanout_limit = 1.5", "peers.fanout_limit: expected a whole number; got '1.5' (from FILE)"),
        ("[peers]\nfanout_limit = 0", "peers.fanout_limit: must be more than 0, got '0' (from FILE)"),
        (
            "[discovery]\npeers = ['a']",
            f"discovery.peers: expected a list, each {ADDRESS.accepts}; got 'a' (from FILE)",
        ),
        (
            "[authorization]\nregistries = ['ghcr.io']",
            f"authorization.registries: {PAIRS_EXPECTED}; got 'ghcr.io' (from FILE)",
        ),
        ("[store]\ndirectory = ''", "store.directory: expected a path; got '' (from FILE)"),
        (
            "[peers]\nadvertise = 'a:1'",
            "peers.advertise: must be a name or an address, without a port, got 'a:1' (from FILE)",
        ),
        ("[peers]\nadvertise = ['a', 'b']", "peers.advertise: expected a text; got 'a,b' (from FILE)"),
        (
            "[peers\n",
            "config: FILE is not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path: Path, toml: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_file(tmp_path, toml)
    assert str(caught.value).replace(str(tmp_path / "registryd.toml"), "FILE") == line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^config: cannot read /.*/none.toml: No such file or directory$"):
        load(flags={}, environment={}, file=tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"[agent]\nnode_name = '\xe9'\n")
    with pytest.raises(SettingsError, match=r"^config: .*latin.toml is not TOML: "):
        load(flags={}, environment={}, file=tmp_path / "latin.toml")


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        load(flags={}, environment={"REGISTRYD_PEERS_LISTN": "x"}, file=None)
    assert str(caught.value) == "REGISTRYD_PEERS_LISTN: there is no such setting; did you mean REGISTRYD_PEERS_LISTEN?"


@given(st.sampled_from(sorted(all_options())), st.text(max_size=300))
def test_any_text_for_any_key_is_a_value_or_one_line(key: str, text: str) -> None:
    option = all_options()[key]
    try:
        load(flags={}, environment={option.variable: text}, file=None)
    except SettingsError as error:
        line = str(error)
        assert line.startswith(f"{key}: ")
        assert line.isprintable()
        assert len(line) < 1000
