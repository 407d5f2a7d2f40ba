"""Each fault is found, said with its remedy, and weighed; what needs a real containerd is in e2e/test_doctor.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings, PeersSettings, Settings, StoreSettings
from registryd.doctor.agent import check_agent, check_port, check_token
from registryd.doctor.config_path import check_config_path, check_hosts_dir, check_record
from registryd.doctor.containerd import check_containerd, check_content, check_layers, check_namespaces, check_store
from registryd.doctor.examination import CHECKS, _checked
from registryd.doctor.finding import Severity
from registryd.doctor.hosts import check_hosts
from registryd.doctor.occupancy import Occupancy, Occupant
from registryd.doctor.peers import check_clock, check_peers, check_secret, check_zones
from registryd.node.judging import Judgement
from registryd.store.containerd.introspection import Introspection
from registryd.store.containerd.survey import Survey
from tests.doctor.patients import (
    ENDPOINT,
    NODE,
    STORE,
    VITALS,
    config_of,
    facts_of,
    keeping,
    member,
    patient,
    with_members,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.doctor.finding import Finding
    from registryd.doctor.patient import Patient

    Check = Callable[[Patient], Awaitable[list[Finding]]]

OK, WARNING, PROBLEM = Severity


async def only(check: Check, patient: Patient) -> Finding:
    (finding,) = await check(patient)
    assert bool(finding.remedy) == (finding.severity is not OK)
    return finding


@pytest.mark.parametrize(
    ("node", "severity"),
    [({}, OK), ({"problem": "containerd does not answer"}, PROBLEM), ({"version": "0.0.1"}, WARNING)],
)
async def test_the_agent(tmp_path: Path, node: dict[str, Any], severity: Severity) -> None:
    status = {"node": NODE | node, "store": STORE, "doors": {}}
    assert (await only(check_agent, patient(tmp_path, status=status))).severity is severity


async def test_no_agent(tmp_path: Path) -> None:
    found = await only(check_agent, patient(tmp_path, status="Connection refused"))
    assert (found.severity, "Connection refused" in found.found) == (PROBLEM, True)


async def test_an_agent_on_another_port(tmp_path: Path) -> None:
    status = {"node": NODE, "store": STORE, "doors": {"registry": "127.0.0.1:9"}}
    assert (await only(check_port, patient(tmp_path, status=status))).severity is PROBLEM


async def test_no_token_is_a_warning(tmp_path: Path) -> None:
    assert (await only(check_token, patient(tmp_path))).severity is WARNING


@pytest.mark.parametrize(
    ("version", "severity", "words"),
    [
        ("1.5.9", WARNING, "not tested"),
        ("1.7.24", OK, "without any [host]"),
        ("2.2.0", OK, "has a list as its default config_path"),
        ("2.3.1", OK, "takes config_path for one path"),
    ],
)
async def test_versions_of_containerd(tmp_path: Path, version: str, severity: Severity, words: str) -> None:
    survey = Survey(version, {}, Counter(), has_cri=True)
    found = await only(check_containerd, patient(tmp_path, containerd=survey))
    assert (found.severity, words in f"{found.found}, {found.details}") == (severity, True)


async def test_a_containerd_whose_cri_is_disabled(tmp_path: Path) -> None:
    survey = Survey("1.7.24", {}, Counter(), has_cri=False)
    found = await only(check_containerd, patient(tmp_path, containerd=survey))
    assert (found.severity, "disabled_plugins" in found.remedy) == (WARNING, True)


async def test_a_containerd_that_is_away(tmp_path: Path) -> None:
    assert (await only(check_containerd, patient(tmp_path, containerd="no socket"))).severity is PROBLEM


async def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    assert (await only(check_config_path, patient(tmp_path, config="not TOML"))).severity is PROBLEM


async def test_a_pod_without_the_nodes_files_says_so_and_finds_no_fault_in_them(tmp_path: Path) -> None:
    node = in_a_pod(tmp_path, Introspection("2.3.7", has_cri=True))
    found = await only(check_config_path, node)
    assert (found.severity, "--root" in found.remedy) == (WARNING, True)
    assert await check_hosts(node) == await check_layers(node) == []


async def test_in_a_pod_containerd_itself_says_where_it_looks_and_what_it_keeps(tmp_path: Path) -> None:
    told = Introspection("2.4.2", has_cri=True, config_path="/etc/containerd/certs.d", discards_layers=True)
    node = in_a_pod(tmp_path, told)
    found = await only(check_config_path, node)
    assert (found.severity, found.found, found.details) == (OK, "/etc/containerd/certs.d", "by containerd itself")
    assert "the agent keeps them" in (await only(check_layers, node)).found
    assert await check_hosts(node) == []
    (tmp_path / "etc/containerd/certs.d").mkdir()  # mounted
    (found,) = await check_hosts(node)
    assert (found.severity, "leads to http://127.0.0.1:3172" in found.found) == (PROBLEM, True)


def in_a_pod(root: Path, told: Introspection) -> Patient:
    judgement = Judgement(told.config_path, None, None, is_outdated=False)
    node = patient(root, facts=facts_of(root, told.version, told), judgement=judgement)
    return replace(node, place=replace(node.place, has_files=False))


# Where it looks


@pytest.mark.parametrize(
    ("judgement", "severity", "words"),
    [
        (Judgement(None, None, None, is_outdated=False), OK, "/etc/containerd/certs.d, by /etc/containerd/config.toml"),
        (Judgement("/a", "/a", None, is_outdated=False), OK, "/a, by containerd itself"),
        (Judgement("/a", "/b", None, is_outdated=True), PROBLEM, "looks in /a; its configuration says /b"),
        (Judgement(None, "/b", None, is_outdated=True), PROBLEM, "has changed since containerd started"),
        (
            Judgement("/a:/b", "/a:/b", None, is_outdated=False),
            PROBLEM,
            "is a list, /a:/b, which this containerd ignores",
        ),
        (Judgement("", "", None, is_outdated=False), PROBLEM, "sets no config_path"),
        ("containerd does not take its configuration: line 3", PROBLEM, "line 3"),
    ],
)
async def test_by_whose_word_it_looks_where(
    tmp_path: Path, judgement: Judgement | str, severity: Severity, words: str
) -> None:
    found = await only(check_config_path, patient(tmp_path, judgement=judgement))
    assert (found.severity, words in f"{found.found}, {found.details}") == (severity, True), found


async def test_of_a_containerd_that_does_not_run_it_is_not_known_which_file_it_reads(tmp_path: Path) -> None:
    judgement = Judgement("", "", None, is_outdated=False)
    node = patient(tmp_path, judgement=judgement, containerd="containerd cannot be reached at its socket")
    for check, words in ((check_config_path, "may be started with another file"), (check_hosts, "is not known")):
        found = await only(check, node)
        assert (found.severity, words in found.found) == (WARNING, True), found


async def test_two_containerds_are_a_problem(tmp_path: Path) -> None:
    said = "2 containerds answer on this node"
    found = await only(check_config_path, patient(tmp_path, facts=said, config=said, judgement=said))
    assert (found.severity, found.found) == (PROBLEM, said)


async def test_files_that_count_later_are_not_said_to_count(tmp_path: Path) -> None:
    hosts = tmp_path / "etc/containerd/certs.d/_default/hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'[host."{ENDPOINT}"]\n')
    assert (await only(check_hosts, patient(tmp_path))).severity is OK
    node = patient(tmp_path, judgement=Judgement(None, "/etc/containerd/certs.d", None, is_outdated=True))
    found = await only(check_hosts, node)
    assert (found.severity, "once it has been restarted" in found.found) == (WARNING, True)


@pytest.mark.parametrize(
    ("settings", "severity"),
    [("capabilities = ['pull', 'referrers']", PROBLEM), ("dial_timeout = '5'", PROBLEM), ("dial_timeout = '5s'", OK)],
)
async def test_a_file_that_containerd_drops_is_named(tmp_path: Path, settings: str, severity: Severity) -> None:
    hosts = tmp_path / "etc/containerd/certs.d/_default/hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'[host."{ENDPOINT}"]\n[host."http://m.lab"]\n{settings}\n')
    found = (await check_hosts(patient(tmp_path)))[0]
    assert (found.severity, "silently" in found.found) == (severity, severity is PROBLEM)


async def test_a_file_that_a_host_names_and_that_is_not_there_is_named(tmp_path: Path) -> None:
    """containerd fails each pull from that registry then, before it asks any host (1.6.20, 2.3.7, 2.4.2)."""
    hosts = tmp_path / "etc/containerd/certs.d/_default/hosts.toml"
    hosts.parent.mkdir(parents=True)
    other = "[host.'http://m.lab']\nca = ['m.crt', '/etc/m.crt']\nclient = [['c', 'k']]\n"
    hosts.write_text(f'[host."{ENDPOINT}"]\n{other}')
    for name in ("m.crt", "c", "k"):
        (hosts.parent / name).touch()
    found = (await check_hosts(patient(tmp_path)))[0]
    assert (found.severity, "'/etc/m.crt', which is not there" in found.found) == (PROBLEM, True)
    (tmp_path / "etc/m.crt").touch()
    assert (await only(check_hosts, patient(tmp_path))).severity is OK


@pytest.mark.parametrize(
    ("asked", "mode", "count"),
    [
        (["/etc/containerd/certs.d"], "public", 0),
        (["/var/lib/certs.d"], "public", 1),
        ([], "public", 1),
        (["/var/lib/certs.d"], "open", 0),
    ],
)
async def test_where_the_agent_learns_who_may_pull(tmp_path: Path, asked: list[str], mode: str, count: int) -> None:
    node = patient(tmp_path, settings=Settings(authorization=AuthorizationSettings(mode=AuthorizationMode(mode))))
    assert isinstance(node.status, dict)
    found = await check_hosts_dir(replace(node, status=node.status | {"hosts_dirs": asked}))
    assert [each.severity for each in found] == [WARNING] * count


async def test_an_agent_that_serves_a_directory_beside_a_containerd(tmp_path: Path) -> None:
    assert await check_store(patient(tmp_path)) == []
    status = {"node": NODE, "store": STORE | {"kind": "directory"}, "doors": {}}
    found = await only(check_store, patient(tmp_path, status=status))
    assert (found.severity, "not this node's containerd" in found.found) == (PROBLEM, True)
    assert await check_store(patient(tmp_path, status=status, containerd="there is no socket")) == []


async def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    assert await check_record(patient(tmp_path)) == []
    record = tmp_path / "var/lib/registryd/node/record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    assert (await only(check_record, patient(tmp_path))).severity is WARNING


@pytest.mark.parametrize(
    ("occupancy", "with_agent", "without"),
    [
        (Occupancy(Occupant.REGISTRYD), OK, WARNING),
        (Occupancy(Occupant.NOBODY, how="refused"), PROBLEM, OK),
        (Occupancy(Occupant.OTHER, "nginx (process 7)", "it answers with 200"), PROBLEM, PROBLEM),
        (Occupancy(Occupant.UNKNOWN, how="no connection within 3 s"), PROBLEM, PROBLEM),
    ],
)
async def test_who_is_at_the_port(
    tmp_path: Path, occupancy: Occupancy, with_agent: Severity, without: Severity
) -> None:
    assert (await only(check_port, patient(tmp_path, port=occupancy))).severity is with_agent
    assert (await only(check_port, patient(tmp_path, port=occupancy, status="refused"))).severity is without


@pytest.mark.parametrize(("discard", "keep", "severity"), [(False, 0, OK), (True, 1 << 30, OK), (True, 0, WARNING)])
async def test_discarded_layers(tmp_path: Path, discard: bool, keep: int, severity: Severity) -> None:
    node = patient(tmp_path, config=config_of(tmp_path, discard=discard), settings=keeping(keep))
    assert (await only(check_layers, node)).severity is severity


@pytest.mark.parametrize(
    ("store", "severity"),
    [({}, OK), ({"is_direct": False}, WARNING), ({"is_direct": False, "images": 0, "reading": ""}, OK)],
)
async def test_how_content_is_read(tmp_path: Path, store: dict[str, Any], severity: Severity) -> None:
    status = {"node": NODE, "store": STORE | store, "doors": {}}
    assert (await only(check_content, patient(tmp_path, status=status))).severity is severity


@pytest.mark.parametrize(
    ("there", "shared", "severity"),
    [
        ({"k8s.io": 3}, ("k8s.io",), OK),
        ({"k8s.io": 3, "moby": 1}, ("k8s.io",), OK),
        ({"k8s.io": 3, "moby": 1}, ("moby",), WARNING),
        ({}, ("k8s.io",), WARNING),
    ],
)
async def test_namespaces(tmp_path: Path, there: dict[str, int], shared: tuple[str, ...], severity: Severity) -> None:
    node = patient(
        tmp_path,
        containerd=Survey("2.1.9", there, Counter(), has_cri=True),
        settings=Settings(store=StoreSettings(namespaces=shared)),
    )
    assert (await only(check_namespaces, node)).severity is severity


# Between nodes


@pytest.mark.parametrize(
    ("skew", "severity"), [(0.0, OK), (29.0, OK), (-31.0, WARNING), (3600.0, WARNING), (-9 * 3600.0, PROBLEM)]
)
async def test_clocks(tmp_path: Path, skew: float, severity: Severity) -> None:
    node = with_members(tmp_path, member(), member("10.0.0.3:3173", skew=skew))
    assert (await only(check_clock, node)).severity is severity


@pytest.mark.parametrize(
    ("skews", "found"),
    [
        ((90.0, 91.0, 89.0), "this node is 90.0 s behind 3 of 3 other nodes"),
        ((-90.0, -91.0, -89.0, 0.0), "this node is 90.0 s ahead of 3 of 4 other nodes"),
        ((90.0, 0.0), "10.0.0.2:3173 is 90.0 s ahead"),
        ((90.0, 91.0, 0.0), "10.0.0.3:3173 is 91.0 s ahead"),
        ((90.0, -90.0), "10.0.0.2:3173 is 90.0 s ahead"),
    ],
)
async def test_where_most_clocks_differ_it_is_this_nodes_that_is_wrong(
    tmp_path: Path, skews: tuple[float, ...], found: str
) -> None:
    others = [member(f"10.0.0.{number}:3173", skew=skew) for number, skew in enumerate(skews, 2)]
    told = await only(check_clock, with_members(tmp_path, *others))
    assert (told.found, told.severity) == (found, WARNING)
    assert ("set this node's clock right" in told.remedy) == found.startswith("this node")


async def test_no_clock_to_compare_with(tmp_path: Path) -> None:
    assert await check_clock(with_members(tmp_path, member(skew=None))) == []


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"peers_problem": "no route", "problem": "no route"}, WARNING, "cannot be reached: no route"),
        ({"problem": "too old to say"}, WARNING, "gives no answer: too old"),
        ({"content_problem": "refused"}, PROBLEM, "its bytes port cannot be reached"),
        ({"back": {"is_known": False, "peers_problem": "", "content_problem": ""}}, PROBLEM, "does not know this"),
        ({"back": {"is_known": True, "peers_problem": "dropped", "content_problem": ""}}, PROBLEM, "reach this node"),
        ({"back": {"is_known": True, "peers_problem": "", "content_problem": "dropped"}}, PROBLEM, "reach this node"),
    ],
)
async def test_reaching_each_other(tmp_path: Path, changes: dict[str, Any], severity: Severity, words: str) -> None:
    found = await only(check_peers, with_members(tmp_path, member("10.0.0.3:3173"), member(**changes)))
    assert (found.name, found.severity) == ("peers 10.0.0.2:3173", severity)
    assert words in found.found


async def test_an_agent_that_does_not_run_is_to_be_started_and_no_firewall_is_to_be_opened(tmp_path: Path) -> None:
    reasons = {"Connection refused": "start it", "timed out": "firewall"}
    for why, remedy in reasons.items():
        node = with_members(tmp_path, member("10.0.0.3:3173"), member(peers_problem=f"10.0.0.2:3173: {why}"))
        found = await only(check_peers, node)
        assert found.found == f"cannot be reached: {why}"
        assert remedy in found.remedy


async def test_zones(tmp_path: Path) -> None:
    def node(own: str, *others: str) -> Patient:
        members = [
            member(f"10.0.0.{number}:3173", vitals=VITALS | ({"zone": zone} if zone else {}))
            for number, zone in enumerate(others, 2)
        ]
        return replace(with_members(tmp_path, *members), status={"node": NODE | {"zone": own}})

    assert await check_zones(node("", "", "")) == []
    found = await only(check_zones, node("a", "a", "b"))
    assert (found.severity, "2 in a, 1 in b" in found.found) == (OK, True)
    found = await only(check_zones, node("a", "a", ""))
    assert (found.severity, "2 in a; 1 in none" in found.found) == (WARNING, True)
    found = await only(check_zones, node("", "a"))
    assert (found.severity, "1 in a; 1 in none" in found.found) == (WARNING, True)


async def test_no_peer_that_can_be_reached_is_a_problem(tmp_path: Path) -> None:
    gone: dict[str, Any] = {
        "peers_problem": "refused",
        "problem": "refused",
        "vitals": None,
        "back": None,
        "state": "set aside",
    }
    one = await check_peers(with_members(tmp_path, member(**gone)))
    assert [finding.severity for finding in one] == [PROBLEM, WARNING]
    both = await check_peers(with_members(tmp_path, member(**gone), member("10.0.0.3:3173", **gone)))
    assert (both[0].severity, "none of 2" in both[0].found) == (PROBLEM, True)
    some = await check_peers(with_members(tmp_path, member(**gone), member("10.0.0.3:3173")))
    assert [finding.severity for finding in some] == [WARNING]


async def test_nobody_to_reach(tmp_path: Path) -> None:
    assert (await only(check_peers, with_members(tmp_path))).severity is WARNING


async def test_another_secret_is_the_finding_of_the_secret_only(tmp_path: Path) -> None:
    stranger = member(is_stranger=True, peers_problem="self-signed certificate", vitals=None, back=None)
    node = with_members(tmp_path, stranger)
    found = await only(check_secret, node)
    assert (found.severity, "self-signed" in found.found) == (PROBLEM, True)
    assert all(finding.severity is OK for finding in await check_peers(node))


@pytest.mark.parametrize(("strangers", "reached", "is_own"), [(1, 0, False), (2, 0, True), (2, 1, False), (3, 1, True)])
async def test_where_most_have_another_secret_it_is_this_node_that_needs_the_clusters(
    tmp_path: Path, strangers: int, reached: int, *, is_own: bool
) -> None:
    odd: dict[str, Any] = {"is_stranger": True, "peers_problem": "self-signed", "vitals": None, "back": None}
    members = [member(f"10.0.0.{number}:3173", **odd) for number in range(2, 2 + strangers)]
    members += [member(f"10.0.1.{number}:3173") for number in range(2, 2 + reached)]
    found = await only(check_secret, with_members(tmp_path, *members))
    assert found.severity is PROBLEM
    assert found.found.startswith("this node has another secret than ") == is_own
    assert found.remedy.startswith("give this node the cluster's" if is_own else "give all nodes the same")


async def test_what_many_members_show_alike_is_one_finding(tmp_path: Path) -> None:
    back = {"is_known": True, "peers_problem": "10.0.0.1:3173 does not answer", "content_problem": ""}
    some = [
        member(f"10.0.0.{number}:3173", back=back, content_problem=f"10.0.0.{number}:3174 does not answer")
        for number in (2, 3, 20)
    ]
    found = await check_peers(with_members(tmp_path, *some, member("10.0.0.4:3173")))
    assert [each.name for each in found] == ["peers", "peers"]
    assert found[0].found.startswith("3 of 4 nodes: its bytes port cannot be reached")
    assert found[0].found.endswith(": port 3174 does not answer")
    assert found[1].found == "3 of 4 nodes: it cannot reach this node: 10.0.0.1:3173 does not answer"
    assert found[1].details == "10.0.0.2:3173, 10.0.0.3:3173, 10.0.0.20:3173"
    one_by_one = await check_peers(with_members(tmp_path, *some[:2], member("10.0.0.4:3173")))
    assert len(one_by_one) == 4


async def test_a_member_of_another_secret_is_not_one_that_was_reached(tmp_path: Path) -> None:
    stranger = member("10.0.0.3:3173", is_stranger=True, peers_problem="self-signed", vitals=None, back=None)
    [found] = await check_peers(with_members(tmp_path, member(), stranger))
    assert (found.severity, found.found.startswith("1 reached")) == (OK, True)


async def test_no_secret(tmp_path: Path) -> None:
    insecure = Settings(peers=PeersSettings(insecure=True))
    assert (await only(check_secret, patient(tmp_path, settings=insecure))).severity is WARNING
    assert (await only(check_secret, patient(tmp_path))).severity is WARNING
    secured = Settings(peers=PeersSettings(secret_file=Path("/etc/registryd/secret")))
    assert (await only(check_secret, patient(tmp_path, settings=secured))).severity is OK


async def test_a_check_that_fails_is_a_finding_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(_: Patient) -> list[Finding]:
        raise KeyError("a mistake")

    monkeypatch.setitem(CHECKS, "agent", wrong)
    (found,) = await _checked("agent", patient(tmp_path), asyncio.get_running_loop().time() + 5)
    assert (found.severity, "could not be checked" in found.found) == (PROBLEM, True)
