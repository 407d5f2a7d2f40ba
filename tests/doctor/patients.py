"""Patients made of a few words: a well one, and what is to be different about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.config.agent import Settings, StoreSettings
from registryd.doctor.occupancy import Occupancy, Occupant
from registryd.doctor.patient import ExaminationScope, Patient
from registryd.node.containerd_config import ContainerdConfig, read_config
from registryd.node.distribution import PLAIN
from registryd.node.facts import NodeFacts
from registryd.node.host_commands import HostCommands
from registryd.node.host_root import HostRoot
from registryd.node.judging import Judgement
from registryd.node.program import ContainerdProgram
from registryd.node.release import Release
from registryd.node.tree import NodeTree
from registryd.store.containerd.survey import Survey
from registryd.version import VERSION

if TYPE_CHECKING:
    from registryd.store.containerd.introspection import Introspection

ENDPOINT = "http://127.0.0.1:3172"
CONFIG = """version = 3
[plugins.'io.containerd.cri.v1.images']
  discard_unpacked_layers = {discard}
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '/etc/containerd/certs.d'
"""
NODE: dict[str, Any] = {"name": "n1", "version": VERSION, "up_seconds": 60, "problem": ""}
STORE: dict[str, Any] = {
    "kind": "containerd",
    "reading": "from the files in /var",
    "is_direct": True,
    "images": 3,
    "kept_layers": 0,
    "kept_bytes": 0,
}
VITALS: dict[str, Any] = {"name": "n2", "version": VERSION}


def member(address: str = "10.0.0.2:3173", **changes: Any) -> dict[str, Any]:
    well = {
        "address": address,
        "state": "up",
        "problem": "",
        "peers_problem": "",
        "content_problem": "",
        "is_stranger": False,
        "skew": 0.01,
        "vitals": VITALS,
        "back": {"is_known": True, "peers_problem": "", "content_problem": ""},
    }
    return well | changes


def patient(root: Path, **changes: Any) -> Patient:
    """One that is well, with its files below `root`, and these parts exchanged."""
    well = Patient(
        settings=Settings(),
        place=ExaminationScope(root=HostRoot(root), endpoint=ENDPOINT),
        tree=NodeTree(HostRoot(root)),
        facts=facts_of(root),
        config=config_of(root),
        judgement=Judgement(None, "/etc/containerd/certs.d", None, is_outdated=False),
        containerd=Survey("2.1.9", {"k8s.io": 3}, Counter(), has_cri=True),
        status={
            "node": NODE,
            "store": STORE,
            "doors": {"registry": "127.0.0.1:3172"},
            "hosts_dirs": ["/etc/containerd/certs.d"],
        },
        checkup={"own_address": "10.0.0.1:3173", "members": [member()]},
        port=Occupancy(Occupant.REGISTRYD),
    )
    return replace(well, **changes)


def facts_of(root: Path, version: str = "2.1.9", told: Introspection | None = None) -> NodeFacts:
    program = ContainerdProgram(HostCommands(HostRoot(root)), None)
    return NodeFacts(PLAIN, Release.parse(version), PLAIN.config, program, told=told)


def config_of(root: Path, *, discard: bool = False, version: str = "2.1.9") -> ContainerdConfig:
    file = root / "etc/containerd/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CONFIG.format(discard=str(discard).lower()))
    return read_config(NodeTree(HostRoot(root)), Path("/etc/containerd/config.toml"), Release.parse(version))


def with_members(root: Path, *members: dict[str, Any]) -> Patient:
    return patient(root, checkup={"own_address": "10.0.0.1:3173", "members": list(members)})


def keeping(count: int) -> Settings:
    return Settings(store=StoreSettings(keep_layers=count))
