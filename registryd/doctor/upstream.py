"""The registries that this node pulls from: does the node reach them, by the way that containerd takes?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.doctor.finding import Finding, ok, warning
from registryd.node.errors import NodeError
from registryd.node.registry_folder import DEFAULT, read_folders
from registryd.notation import DOCKER_HUB
from registryd.oci.errors import OciError
from registryd.oci.reference import Registry
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import open_client
from registryd.upstream.containerd_hosts import ContainerdHosts
from registryd.upstream.endpoint import Site
from registryd.upstream.errors import UpstreamFailed

if TYPE_CHECKING:
    from registryd.doctor.patient import Patient

_TIMEOUT: Final = 5.0
# Most nodes use two or three; more would make the answer longer and no better.
_MOST: Final = 5


async def check_upstream(patient: Patient) -> list[Finding]:
    """Ask each for nothing in particular; whatever it says, it is there."""
    registries = _registries(patient)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_problem(patient, registry), name=f"ask {registry}") for registry in registries]
    problems = {registry: task.result() for registry, task in zip(registries, asked, strict=True)}
    remedy = "check the network and the proxy; until then only content that peers have can be pulled"
    away = [warning(f"upstream {name}", f"does not answer: {why}", remedy) for name, why in problems.items() if why]
    there = ", ".join(str(registry) for registry, why in problems.items() if not why)
    return [*away, *([ok("upstream", f"{there} answers")] if there else [])]


def _registries(patient: Patient) -> list[Registry]:
    """Those with a folder of their own, then those whose images are here; Docker Hub if there is nothing to go by."""
    names: list[str] = []
    for root in patient.hosts_roots:
        try:
            names += [
                each.registry for each in read_folders(patient.tree, root, patient.release) if each.registry != DEFAULT
            ]
        except NodeError:
            continue
    if not isinstance(patient.containerd, str):
        names += [name for name, _ in patient.containerd.registries.most_common()]
    found = []
    for name in dict.fromkeys([*names] or [DOCKER_HUB]):
        try:
            found.append(Registry(name))
        except OciError:
            continue
    return found[:_MOST]


async def _problem(patient: Patient, registry: Registry) -> str:
    listen = patient.settings.registry.listen
    ourselves = frozenset({Site(listen.host, listen.port), Site("localhost", listen.port)})
    own = patient.settings.authorization.hosts_dir
    roots = patient.hosts_roots or ((own,) if own else ())
    hosts = ContainerdHosts([patient.place.root.locate(root) for root in roots], ourselves=ourselves)
    try:
        async with asyncio.timeout(_TIMEOUT), open_client(clock=asyncio.get_running_loop().time) as client:
            await AnonymousClient(client, hosts).ping(registry)
    except (UpstreamFailed, ValueError) as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_TIMEOUT:g} s"
    return ""
