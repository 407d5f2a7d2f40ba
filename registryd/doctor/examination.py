"""All checks, side by side and each within its time, so that a stuck or wrong check hides no other finding."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.doctor.agent import check_agent, check_port, check_token
from registryd.doctor.caches import check_caches
from registryd.doctor.config_path import check_config_path, check_hosts_dir, check_record
from registryd.doctor.containerd import check_containerd, check_content, check_layers, check_namespaces, check_store
from registryd.doctor.finding import Finding, problem
from registryd.doctor.hosts import check_hosts
from registryd.doctor.kubelet import check_kubelet
from registryd.doctor.patient import look_at
from registryd.doctor.peers import check_clock, check_peers, check_secret, check_zones
from registryd.doctor.trial import check_pull
from registryd.doctor.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.config.agent import Settings
    from registryd.doctor.patient import ExaminationScope, Patient

    Check = Callable[[Patient], Awaitable[list[Finding]]]

_log = logging.getLogger(__name__)

# In the order in which people look for the cause: from the agent to the world, and the proof of it all at the end.
CHECKS: Final[dict[str, Check]] = {
    "agent": check_agent,
    "port": check_port,
    "token": check_token,
    "containerd": check_containerd,
    "store": check_store,
    "record": check_record,
    "config_path": check_config_path,
    "hosts": check_hosts,
    "hosts_dir": check_hosts_dir,
    "cache": check_caches,
    "namespaces": check_namespaces,
    "layers": check_layers,
    "content": check_content,
    "kubelet": check_kubelet,
    "clock": check_clock,
    "secret": check_secret,
    "peers": check_peers,
    "zones": check_zones,
    "upstream": check_upstream,
    "pull": check_pull,
}
# All of it, after which a person looks elsewhere. Looking takes nine seconds at most, when peers do not answer; what is
# left is enough for a trial pull, which takes a tenth of a second where all is well.
_ALL_SECONDS: Final = 14.0


async def examine(settings: Settings, place: ExaminationScope) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    ends_at = asyncio.get_running_loop().time() + _ALL_SECONDS
    patient = await look_at(settings, place)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_checked(name, patient, ends_at), name=f"check {name}") for name in CHECKS]
    return [finding for task in tasks for finding in task.result()]


async def _checked(name: str, patient: Patient, ends_at: float) -> list[Finding]:
    try:
        async with asyncio.timeout_at(ends_at):
            return await CHECKS[name](patient)
    except TimeoutError:
        return [problem(name, f"no result within {_ALL_SECONDS:g} s in all", "try again; something does not answer")]
    except Exception as error:  # noqa: BLE001 - a mistake of one check must not hide what the others found
        _log.debug("check %s failed", name, exc_info=True)
        return [problem(name, f"could not be checked: {error!r}"[:300], "please report this with --log.level debug")]
