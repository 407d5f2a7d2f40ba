"""containerd: which one, configured how, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.filesize import decimal

from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.node.release import Release
from registryd.notation import counted

if TYPE_CHECKING:
    from registryd.doctor.patient import Patient

_OLDEST: Final = (1, 6)
_KUBERNETES: Final = "k8s.io"
# From the experiments with each of them: what an operator may run into, and what is done about it.
_TRAPS: Final = (
    ((1, 6), (2, 0), "ignores a hosts.toml without any [host]; replaces whole tables by drop-ins"),
    ((2, 1), (9, 0), "takes config_path for one path, and so ignores a list of them"),
    ((2, 2), (9, 0), "has a list as its default config_path, which it then ignores"),
    ((1, 6), (2, 3), "waits for ever for a mirror that accepts and says nothing, which the agent never does"),
)


async def check_containerd(patient: Patient) -> list[Finding]:
    """Whether it answers, and which version it is."""
    if isinstance(patient.containerd, str):
        remedy = "start containerd, or name its socket: store.containerd_socket"
        return [problem("containerd", f"containerd does not answer: {patient.containerd}", remedy)]
    version = Release.parse(patient.containerd.version).version
    if version < _OLDEST:
        return [warning("containerd", f"containerd {patient.containerd.version} is not tested", "use 1.6 or later")]
    if not patient.containerd.has_cri:
        found = (
            f"containerd {patient.containerd.version} answers without its CRI plugin, so no kubelet can pull through it"
        )
        remedy = (
            "remove cri from disabled_plugins in its configuration (Docker's package puts it there), then restart it"
        )
        return [warning("containerd", found, remedy)]
    traps = [text for since, until, text in _TRAPS if since <= version < until]
    known = f"; known of it: {'; '.join(traps)}" if traps else ""
    found = f"containerd {patient.containerd.version} answers"
    return [ok("containerd", found, f"at {patient.socket}{_started(patient)}{known}")]


def _started(patient: Patient) -> str:
    process = None if isinstance(patient.facts, str) else patient.facts.process
    return f" (process {process.pid}, started with {process.config})" if process else ""


async def check_store(patient: Patient) -> list[Finding]:
    """Whether the agent serves what this node's containerd has."""
    if isinstance(patient.status, str) or isinstance(patient.containerd, str):
        return []
    store = patient.status["store"]
    if store and store["kind"] != "containerd":
        found = f"the agent serves a {store['kind']}, not this node's containerd, which answers at {patient.socket}"
        remedy = "unset store.kind, or set it to containerd; give doctor the agent's own settings by --config"
        return [problem("store", found, remedy)]
    return []


async def check_namespaces(patient: Patient) -> list[Finding]:
    """Whether what is shared is what there is."""
    if isinstance(patient.containerd, str):
        return []
    there, shared = patient.containerd.images, patient.settings.store.namespaces
    if missing := [name for name in shared if name not in there]:
        found = f"containerd has no namespace {', '.join(missing)}; it has {', '.join(there) or 'none yet'}"
        return [warning("namespaces", found, "pull something, or set store.namespaces")]
    if there.get(_KUBERNETES) and _KUBERNETES not in shared:
        found = f"Kubernetes' images are in {_KUBERNETES}, and only {', '.join(shared)} is shared"
        return [warning("namespaces", found, f"add {_KUBERNETES} to store.namespaces")]
    others = [f"{name} ({count})" for name, count in there.items() if count and name not in shared]
    text = ", ".join(f"{name} ({counted(there[name], 'image')})" for name in shared)
    return [ok("namespaces", f"shared: {text}" + (f"; not shared: {', '.join(others)}" if others else ""))]


async def check_layers(patient: Patient) -> list[Finding]:
    """Whether layers are still there to be shared after they have been unpacked."""
    discards = _discards(patient)
    if discards is None:
        return []
    store = patient.settings.store
    if not discards:
        return [ok("layers", "containerd keeps layers after unpacking them")]
    if not (store.keep_layers and store.keep_layers_age):
        found = "containerd discards layers after unpacking them, and store.keep_layers is 0: others get manifests only"
        return [warning("layers", found, "set store.keep_layers, or discard_unpacked_layers = false in containerd")]
    kept = "" if isinstance(patient.status, str) else _kept(patient.status["store"])
    return [ok("layers", f"containerd discards layers after unpacking them; the agent keeps them{kept}")]


def _discards(patient: Patient) -> bool | None:
    """By containerd's own word (2.4), by its program, by its files; None: nobody says."""
    told = None if isinstance(patient.facts, str) else patient.facts.told
    if told and told.discards_layers is not None:
        return told.discards_layers
    if isinstance(patient.config, str) or not patient.place.has_files:
        return None
    dumped = None if isinstance(patient.judgement, str) else patient.judgement.images
    return (dumped or patient.config.images).discards_layers


def _kept(store: dict[str, Any] | None) -> str:
    return f": {store['kept_layers']} of them, {decimal(store['kept_bytes'])}" if store else ""


async def check_content(patient: Patient) -> list[Finding]:
    """Whether the agent reads blobs from files, fifteen times as fast as through containerd's API."""
    store = None if isinstance(patient.status, str) else patient.status["store"]
    if store is None:
        return []
    if store["is_direct"] or not store["images"]:
        way = "read from files" if store["is_direct"] else "read nowhere yet"
        return [ok("content", f"{counted(store['images'], 'image')}, {way}", store["reading"])]
    remedy = "run the agent as root (or with CAP_DAC_READ_SEARCH), with containerd's root mounted at the same path"
    return [warning("content", f"content is read {store['reading']}, which is slow", remedy)]
