"""Where containerd looks for hosts.toml files: by its own word, and whether the agent looks there as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.config.agent import AuthorizationMode
from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.node.containerd_config import roots_of
from registryd.node.disk import Disk
from registryd.node.errors import NodeError
from registryd.node.record_store import RecordStore
from registryd.node.starting import has_started_since

if TYPE_CHECKING:
    from registryd.doctor.patient import Patient
    from registryd.node.containerd_config import ContainerdConfig
    from registryd.node.facts import NodeFacts
    from registryd.node.judging import Judgement

_INSTALL: Final = "run `registryd install`, and restart containerd when it says so"


async def check_config_path(patient: Patient) -> list[Finding]:
    """Whether containerd looks for hosts.toml files at all."""
    facts, config, judgement = patient.facts, patient.config, patient.judgement
    if isinstance(facts, str):
        return [problem("config_path", facts, "see the documentation of set-up, docs/nodes.md")]
    if not patient.place.has_files:
        return [_in_a_pod(patient)]
    if isinstance(config, str):
        return [problem("config_path", config, "mend containerd's configuration; what runs uses what it read before")]
    if isinstance(judgement, str):
        return [problem("config_path", judgement, "mend it before containerd is restarted")]
    return [_judged(patient, facts, config, judgement)]


def _in_a_pod(patient: Patient) -> Finding:
    if patient.config_path:
        return _by_path(patient, "containerd itself")
    found = "config_path and the hosts.toml files are not checked: this pod does not have the node's files"
    return warning("config_path", found, "to check them, mount the node's file system and name its folder: --root")


def _judged(patient: Patient, facts: NodeFacts, config: ContainerdConfig, judgement: Judgement) -> Finding:
    where = config.owner.path
    images = judgement.images or config.images
    if images.in_the_way:
        found = f"{where} has {images.in_the_way}, which containerd does not accept together with config_path"
        return problem("config_path", found, "write it as hosts.toml files (containerd's docs/hosts.md), then install")
    if judgement.is_outdated or _is_owed(patient, facts, judgement):
        return problem("config_path", _outdated(judgement), facts.distribution.how_to_restart)
    if not patient.config_path and patient.has_no_containerd:
        found = f"{_nothing_set(config)}; but containerd does not run, and may be started with another file"
        return warning("config_path", found, "start containerd, then run doctor again")
    if not patient.config_path:
        return problem("config_path", _nothing_set(config), _INSTALL)
    return _by_path(patient, _by(facts, config, judgement))


def _by_path(patient: Patient, by: str) -> Finding:
    if patient.has_ignored_list:
        found = f"config_path is a list, {patient.config_path}, which this containerd ignores silently, by {by}"
        return problem("config_path", found, "run `registryd install`, which sets one path, and restart containerd")
    return ok("config_path", str(patient.config_path), f"by {by}")


def _by(facts: NodeFacts, config: ContainerdConfig, judgement: Judgement) -> str:
    if judgement.uses is not None:
        return "containerd itself"
    if judgement.takes is not None and facts.program.path:
        return f"what containerd makes of {facts.config}"
    return str(config.owner.path)


def _outdated(judgement: Judgement) -> str:
    if judgement.uses is None:
        return "the configuration has changed since containerd started, and containerd reads it only at its start"
    now = f"looks in {judgement.uses}" if judgement.uses else "looks for no hosts.toml"
    return f"the containerd that runs {now}; its configuration says {judgement.takes or 'nothing'} since it started"


def _nothing_set(config: ContainerdConfig) -> str:
    if config.main.image is None:
        return f"there is no {config.main.path}, so containerd reads no hosts.toml"
    if config.dropped:
        names = ", ".join(str(file.path) for file in config.dropped)
        return f"containerd ignores the settings of images in {names}, because another file is of a later version"
    return f"{config.owner.path} sets no config_path, so containerd reads no hosts.toml"


def _is_owed(patient: Patient, facts: NodeFacts, judgement: Judgement) -> bool:
    """By `install`'s record, so far as containerd does not say itself what it uses."""
    if judgement.uses is not None:
        return False
    try:
        record = RecordStore(patient.place.root, Disk(), patient.place.state).load()
    except NodeError:
        return False  # the finding of check_record
    return (
        record is not None
        and record.restart_due
        and not has_started_since(patient.place.root, facts, record.changed_at)
    )


async def check_record(patient: Patient) -> list[Finding]:
    """Whether what was there before `install` could be put back."""
    if not patient.place.has_files:
        return []
    try:
        RecordStore(patient.place.root, Disk(), patient.place.state).load()
    except NodeError as error:
        return [warning("record", str(error), "without it `uninstall` cannot put everything back")]
    return []


async def check_hosts_dir(patient: Patient) -> list[Finding]:
    """Whether the agent asks upstreams where containerd asks them: of interest to mode public only."""
    if isinstance(patient.status, str) or not patient.config_path:
        return []
    modes = {patient.settings.authorization.mode, *patient.settings.authorization.registries.values()}
    if AuthorizationMode.PUBLIC not in modes:
        return []
    asked, theirs = patient.status.get("hosts_dirs", []), list(map(str, roots_of(patient.config_path)))
    # The later ones of a list are seldom there.
    if asked and asked == theirs[: len(asked)]:
        return []
    own, other = ", ".join(asked) or "no folder", ", ".join(theirs)
    found = f"the agent reads the hosts.toml files in {own}, and containerd reads those in {other}"
    remedy = "leave authorization.hosts_dir empty, or name containerd's folder; in a pod mount it (containerd.hostsDir)"
    return [warning("hosts_dir", found, remedy)]
