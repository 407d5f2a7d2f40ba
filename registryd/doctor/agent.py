"""The agent itself: is it there, is it ours, does the port belong to it, does it take the node's token?"""

from __future__ import annotations

import stat
from http import HTTPStatus
from typing import TYPE_CHECKING

from registryd.doctor.asking import Question, Unanswered, ask
from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.doctor.occupancy import Occupant
from registryd.identity.errors import IdentityError
from registryd.identity.node_token import TOKEN_HEADER, read_token
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.doctor.occupancy import Occupancy
    from registryd.doctor.patient import Patient
    from registryd.notation import Address

_START = "start it (systemctl start registryd, or look at its pod); why it does not run is in its log"


async def check_agent(patient: Patient) -> list[Finding]:
    """Whether an agent answers at the admin port, and can serve."""
    listen = patient.settings.admin.listen
    if isinstance(patient.status, str):
        return [problem("agent", f"no agent answers at {listen}: {patient.status}", _START)]
    node = patient.status["node"]
    if node["problem"]:
        return [problem("agent", f"the agent runs and cannot serve: {node['problem']}", "its log says more")]
    if node["version"] != VERSION:
        differing = f"the agent is {node['version']}, this doctor is {VERSION}"
        return [warning("agent", differing, "use the same, or restart the agent after an upgrade")]
    return [ok("agent", f"{node['name']} runs {node['version']}", f"for {node['up_seconds']} s")]


async def check_port(patient: Patient) -> list[Finding]:
    """Whether it is the agent that listens where containerd asks, and nobody else."""
    listen, port = patient.settings.registry.listen, patient.port
    if port.occupant is Occupant.OTHER:
        remedy = (
            "stop it (Talos' own image cache uses 3172 when it is enabled), or set registry.listen and install again"
        )
        return [problem("port", f"{listen} is taken by {port.who}: {port.how}", remedy)]
    if isinstance(patient.status, str):
        return [_without_agent(listen, port)]
    actual = patient.status["doors"]["registry"]
    if actual != str(listen):
        found = f"the agent listens on {actual}, the settings here say {listen}"
        return [problem("port", found, "give doctor and install the agent's own settings (--config)")]
    if port.occupant is not Occupant.REGISTRYD:
        found = f"the agent does not answer on {listen}: {port.how}"
        return [problem("port", found, "restart it; its log says more")]
    return [ok("port", f"{listen} is the agent's")]


def _without_agent(listen: Address, port: Occupancy) -> Finding:
    if port.occupant is Occupant.NOBODY:
        return ok("port", f"{listen} is free for the agent")
    if port.occupant is Occupant.REGISTRYD:
        found = f"a registryd is at {listen}, and its admin port does not answer"
        return warning("port", found, "give doctor the agent's own settings (--config)")
    remedy = "look for a packet filter on the loopback interface"
    return problem("port", f"doctor cannot tell which program is at {listen}: {port.how}", remedy)


async def check_token(patient: Patient) -> list[Finding]:
    """Whether only this node's containerd is answered."""
    file = patient.settings.registry.token_file
    if file is None:
        found = "registry.token_file is not set, so any process of this node may ask for its images"
        return [warning("token", found, "set registry.token_file and run `registryd install` again")]
    try:
        token = read_token(patient.place.root.locate(file))
    except IdentityError as error:
        return [problem("token", str(error), "run `registryd install` as root; it makes the token")]
    return [*_exposed(patient), await _tried(patient, token)]


async def _tried(patient: Patient, token: str) -> Finding:
    listen = patient.settings.registry.listen
    try:
        with_token = await ask(listen, Question("/v2/", headers=((TOKEN_HEADER, token),)))
        without = await ask(listen, Question("/v2/"))
    except Unanswered as error:
        return warning("token", f"it could not be tried: {error}", "see the finding of the agent")
    if with_token.status != HTTPStatus.OK:
        found = f"the agent does not accept the token of {patient.settings.registry.token_file}"
        return problem("token", found, "give the agent the same registry.token_file, and restart it")
    if without.status == HTTPStatus.OK:
        found = "the agent answers without a token"
        return warning("token", found, "start the agent with registry.token_file set, too")
    return ok("token", "the agent answers only clients that show the token")


def _exposed(patient: Patient) -> Iterator[Finding]:
    file = patient.settings.registry.token_file
    if file and patient.place.root.locate(file).stat().st_mode & (stat.S_IROTH | stat.S_IRGRP):
        yield warning("token", f"{file} can be read by others than its owner", f"chmod 600 {file}")
