"""Caches that containerd asks after the agent: are they in the hosts.toml files, and do they answer?"""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.node.errors import NodeError
from registryd.node.hosts_entry import NEXT_MARK
from registryd.node.hosts_file import hosts_with_mark
from registryd.node.registry_folder import read_folders
from registryd.upstream.client import open_client
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import UpstreamFailed, UpstreamMissing
from registryd.upstream.transport import Patience
from registryd.upstream.trust import TlsTrust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.doctor.patient import Patient

_TIMEOUT: Final = 5.0
_AWAY: Final = "check the cache, the way to it and registry.next_token_file; until then what is behind it is asked"


async def check_caches(patient: Patient) -> list[Finding]:
    """Ask each as containerd would; nothing is found where there is none."""
    wanted = {url.rstrip("/") for url in patient.settings.registry.next_endpoints}
    written = await asyncio.to_thread(_written, patient)
    missing = [
        warning(f"cache {url}", "no hosts.toml has it after the agent", "run `registryd install` again")
        for url in sorted(wanted - set(written))
        if patient.hosts_roots
    ]
    async with asyncio.TaskGroup() as group:
        asked = {
            url: group.create_task(_problem(patient, url, table), name=f"ask {url}") for url, table in written.items()
        }
    problems = {url: task.result() for url, task in asked.items()}
    away = [problem(f"cache {url}", why, _AWAY) for url, why in problems.items() if why]
    there = ", ".join(url for url, why in problems.items() if not why)
    return [*missing, *away, *([ok("cache", f"{there} answers")] if there else [])]


def _written(patient: Patient) -> dict[str, Mapping[str, Any]]:
    """Their tables in hosts.toml files, by URL, as `install` writes them."""
    found: dict[str, Mapping[str, Any]] = {}
    for root in patient.hosts_roots:
        try:
            folders = read_folders(patient.tree, root, patient.release)
        except NodeError:
            continue  # the finding of check_hosts
        for folder in folders:
            if folder.hosts and not folder.ignored_because:
                tables = tomllib.loads(folder.hosts.text).get("host", {})
                found |= {url: tables[url] for url in hosts_with_mark(folder.hosts.text, {NEXT_MARK})}
    return found


async def _problem(patient: Patient, url: str, table: Mapping[str, Any]) -> str:
    headers = tuple(table.get("header", {}).items())
    files = (patient.place.root.locate(Path(table["ca"])),) if "ca" in table else ()
    clock = asyncio.get_running_loop().time
    try:
        endpoint = replace(Endpoint.parse(url), headers=headers, trust=TlsTrust(files))
        async with open_client(clock=clock, patience=Patience(total=_TIMEOUT)) as client:
            await client.ping(endpoint, 200)
    except UpstreamMissing:
        return "refuses this node's token, so every request is a miss"
    except (UpstreamFailed, ValueError) as error:
        return str(error)
    return ""
