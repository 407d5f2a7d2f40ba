"""A real pull of a tiny image, made up for this one time, through containerd: the proof that all of it works."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rich.filesize import decimal

from registryd.content.trial import TRIAL_REGISTRY
from registryd.doctor.asking import Unanswered, ask_json
from registryd.doctor.finding import Finding, Severity, ok, problem, warning
from registryd.node.errors import NodeError
from registryd.node.registry_folder import DEFAULT, read_folders
from registryd.store.containerd.cri import try_pull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.doctor.patient import Patient

_UNSEEN_REMEDY: Final = (
    "if only some registries are mirrored, try on the node, or with --root: their names are in its files"
)
_ERROR_REMEDY: Final = "see the findings of hosts, config_path and token; containerd's log says which hosts it asked"


async def check_pull(patient: Patient) -> list[Finding]:
    """Have an image offered, pull it, see who gave it, and remove it again."""
    if isinstance(patient.status, str):
        return []  # without an agent there is nothing to try
    if isinstance(patient.containerd, str) or not patient.containerd.has_cri:
        return [warning("pull", "not tried: no containerd with CRI answers", "see the finding of containerd")]
    listen = patient.settings.admin.listen
    try:
        trial = await ask_json(listen, "/trial", post={"registry": _registry(patient)})
        began = time.monotonic()
        failure = await try_pull(patient.socket.absolute(), trial["reference"])
        seconds = time.monotonic() - began
        status = await ask_json(listen, "/status")
    except Unanswered as error:
        return [warning("pull", f"not tried: {error}", "is the agent of this version?")]
    given = [each for each in status["transfers"]["recent"] if each["digest"] in trial["content"]]
    judged = _judge(trial, given, failure=failure, seconds=seconds)
    if judged.severity is Severity.PROBLEM and not patient.place.has_files:
        return [warning(judged.name, judged.found, _UNSEEN_REMEDY)]
    return [judged]


def why_not_tried(patient: Patient) -> Finding:
    """For whom the trial is the point."""
    said = patient.status if isinstance(patient.status, str) else "nobody knows why"
    return problem("pull", f"not tried: no agent answers at {patient.settings.admin.listen}: {said}", "start the agent")


def _judge(trial: Mapping[str, Any], given: list[Mapping[str, Any]], *, failure: str, seconds: float) -> Finding:
    if failure:
        asked = "" if given else "; the agent was not asked for it, or answered with a miss"
        return problem("pull", f"containerd could not pull {trial['reference']}: {failure}{asked}", _ERROR_REMEDY)
    if not given:
        return problem("pull", "containerd pulled the image, and not from this agent", _ERROR_REMEDY)
    count = sum(each["sent"] for each in given)
    sources = {each["source"] for each in given}
    details = f"{decimal(count)} as {trial['reference']}"
    if trial["holder"] is None:
        return ok("pull", f"a trial image came in {seconds:.1f} s from the agent itself", details)
    if sources == {"peer"}:
        return ok("pull", f"a trial image came in {seconds:.1f} s from peer {trial['holder']}", details)
    return warning("pull", f"the trial image came from {', '.join(sorted(sources))}", "see the findings of peers")


def _registry(patient: Patient) -> str:
    """Under which a trial reaches us: any name if all registries are mirrored, else one that is."""
    names: list[str] = []
    with suppress(NodeError):
        for root in patient.hosts_roots:
            names += [each.registry for each in read_folders(patient.tree, root, patient.release) if each.hosts]
    return TRIAL_REGISTRY if DEFAULT in names or not names else names[0]
