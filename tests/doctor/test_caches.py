"""Caches behind the agent: what doctor finds out about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import RegistrySettings, Settings
from registryd.doctor.caches import check_caches
from registryd.doctor.finding import Severity
from registryd.node.hosts_entry import MirrorEntry
from tests.doctor.patients import ENDPOINT, patient
from tests.fakes.upstream import answering, open_upstream

if TYPE_CHECKING:
    from pathlib import Path

OK, WARNING, PROBLEM = Severity


def write_hosts(root: Path, *entries: MirrorEntry) -> None:
    folder = root / "etc/containerd/certs.d/_default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.toml").write_text("".join(entry.to_toml() for entry in entries))


async def test_none_is_no_finding(tmp_path: Path) -> None:
    write_hosts(tmp_path, MirrorEntry(ENDPOINT))
    assert await check_caches(patient(tmp_path)) == []


@pytest.mark.parametrize(
    ("status", "severity", "said"),
    [(200, OK, "answers"), (404, PROBLEM, "token"), (503, PROBLEM, "503"), (401, PROBLEM, "401")],
)
async def test_one_is_asked_as_containerd_asks_it(tmp_path: Path, status: int, severity: Severity, said: str) -> None:
    async with open_upstream() as cache:
        cache.character = answering(status)
        header = (("Registryd-Token", "a-token"),)
        write_hosts(tmp_path, MirrorEntry(ENDPOINT), MirrorEntry(cache.url, headers=header, is_next=True))
        settings = Settings(registry=RegistrySettings(next_endpoints=(cache.url,)))
        (finding,) = await check_caches(patient(tmp_path, settings=settings))
    assert (finding.severity, said in finding.found) == (severity, True), finding
    assert [(seen.path, seen.token) for seen in cache.seen] == [("/v2/", "a-token")]


async def test_one_that_is_not_there_and_one_whose_authority_is_not(tmp_path: Path) -> None:
    write_hosts(
        tmp_path,
        MirrorEntry(ENDPOINT),
        MirrorEntry("http://127.0.0.1:9", is_next=True),
        MirrorEntry("https://127.0.0.1:9", is_next=True, authorities="/etc/none.pem"),
    )
    findings = await check_caches(patient(tmp_path))
    assert [finding.severity for finding in findings] == [PROBLEM, PROBLEM]
    assert "none.pem cannot be used" in findings[1].found


async def test_one_that_the_settings_name_and_nobody_wrote(tmp_path: Path) -> None:
    write_hosts(tmp_path, MirrorEntry(ENDPOINT))
    settings = Settings(registry=RegistrySettings(next_endpoints=("http://cache.lab",)))
    (finding,) = await check_caches(patient(tmp_path, settings=settings))
    assert (finding.severity, finding.name) == (WARNING, "cache http://cache.lab")
