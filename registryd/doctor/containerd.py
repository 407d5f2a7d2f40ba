"""containerd: which one, configured how, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.node.change import Kind
from registryd.node.disk import Disk
from registryd.node.errors import NodeError
from registryd.node.record_store import RecordStore
from registryd.node.release import Release
from registryd.node.running import has_started_since

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.doctor.patient import Patient
    from registryd.node.containerd_config import ConfigFile, ContainerdConfig

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
        remedy = "start containerd, or set store.containerd_socket (k3s: /run/k3s/containerd/containerd.sock)"
        return [problem("containerd", f"containerd does not answer: {patient.containerd}", remedy)]
    version = Release.parse(patient.containerd.version).version
    if version < _OLDEST:
        return [warning("containerd", f"containerd {patient.containerd.version} is not tested", "use 1.6 or later")]
    if not patient.containerd.has_cri:
        found = f"containerd {patient.containerd.version} answers without its CRI plugin, so no kubelet can pull by it"
        remedy = (
            "take cri out of disabled_plugins in its configuration (Docker's package puts it there), and restart it"
        )
        return [warning("containerd", found, remedy)]
    traps = [text for since, until, text in _TRAPS if since <= version < until]
    known = f"; known of it: {'; '.join(traps)}" if traps else ""
    return [ok("containerd", f"containerd {patient.containerd.version} answers{known}")]


async def check_config_path(patient: Patient) -> list[Finding]:
    """Whether containerd looks for hosts.toml files at all."""
    config = patient.config
    if not patient.place.has_files:
        found = "not looked at, and no hosts.toml: this is a pod, which does not have the node's files"
        return [warning("config_path", found, "for them, mount the node's file system and name it: --root")]
    if isinstance(config, str):
        return [problem("config_path", config, "mend containerd's configuration, or name it: --containerd-config")]
    return [*_owed_restart(patient, config), _config_path(config)]


def _config_path(config: ContainerdConfig) -> Finding:
    where = config.owner.path
    if old := [key for key in ("mirrors", "configs") if _is_in_the_way(key, config.registry.get(key))]:
        found = f"{where} has registry.{old[0]}, which containerd does not take together with config_path"
        return problem("config_path", found, "write it as hosts.toml files (containerd's docs/hosts.md), then install")
    if not config.config_path and config.main.image is None:
        found = f"there is no {config.main.path}, so containerd reads no hosts.toml"
        remedy = "run `registryd install`; in a container, mount the node's file system and name it: --root"
        return problem("config_path", found, remedy)
    if not config.config_path:
        found = f"{where} sets no config_path, so containerd reads no hosts.toml"
        return problem("config_path", found, "run `registryd install`, and restart containerd when it says so")
    if len(config.hosts_roots) > 1 and config.ignores_path_lists:
        found = f"config_path is a list, {config.config_path}, which {config.release} ignores in silence"
        return problem("config_path", found, "run `registryd install`, which sets one path, and restart containerd")
    return ok("config_path", f"{config.config_path}, by {where}")


def _is_in_the_way(key: str, value: Any) -> bool:
    """Mirrors, and the tls of configs; their auth may stay (containerd's ValidatePluginConfig)."""
    if key == "mirrors" or not isinstance(value, dict):
        return bool(value)
    return any(isinstance(host, dict) and host.get("tls") for host in value.values())


def _owed_restart(patient: Patient, config: ContainerdConfig) -> Iterator[Finding]:
    try:
        record = RecordStore(patient.place.root, Disk(), patient.place.state).load()
    except NodeError as error:
        yield warning("config_path", str(error), "without it `uninstall` cannot put everything back")
        return
    changed = [entry.path for entry in record.entries if entry.kind is Kind.CONFIG] if record else []
    is_owed = record is not None and record.restart_due
    main = config.main.path
    if is_owed and not any(has_started_since(patient.place.root, main, path) for path in changed):
        found = "the configuration has changed since containerd started, and it reads it only then"
        yield problem("config_path", found, " ".join(patient.distribution.restart) or "restart containerd")


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
    text = ", ".join(f"{name} ({there[name]} image names)" for name in shared)
    return [ok("namespaces", f"shared: {text}" + (f"; not shared: {', '.join(others)}" if others else ""))]


async def check_layers(patient: Patient) -> list[Finding]:
    """Whether layers are still there to be shared after they have been unpacked."""
    if isinstance(patient.config, str) or not patient.place.has_files:
        return []
    store = patient.settings.store
    if not _discards(patient.config):
        return [ok("layers", "containerd keeps layers after unpacking them")]
    if not (store.keep_layers and store.keep_layers_age):
        found = "containerd discards layers after unpacking them, and store.keep_layers is 0: others get manifests only"
        return [warning("layers", found, "set store.keep_layers, or discard_unpacked_layers = false in containerd")]
    kept = "" if isinstance(patient.status, str) else _kept(patient.status["store"])
    return [ok("layers", f"containerd discards layers after unpacking them; the agent keeps them{kept}")]


def _discards(config: ContainerdConfig) -> bool:
    return any(_discards_by(file) for file in reversed(config.files))


def _discards_by(file: ConfigFile) -> bool:
    table: Any = file.document
    for key in file.plugin:
        table = table.get(key, {})
    # Format 3 has it beside the registry's table, the older ones in a table of its own.
    return any(bool(each.get("discard_unpacked_layers")) for each in (table, table.get("containerd", {})))


def _kept(store: dict[str, Any] | None) -> str:
    return f": {store['kept_layers']} of them, {store['kept_bytes']} bytes" if store else ""


async def check_content(patient: Patient) -> list[Finding]:
    """Whether the agent reads blobs from files, fifteen times as fast as through containerd's API."""
    store = None if isinstance(patient.status, str) else patient.status["store"]
    if store is None:
        return []
    if store["is_direct"] or not store["images"]:
        return [ok("content", f"{store['images']} image names, read {store['reading'] or 'nowhere yet'}")]
    remedy = "run the agent as root (or with CAP_DAC_READ_SEARCH), with containerd's root mounted at the same path"
    return [warning("content", f"content is read {store['reading']}, which is slow", remedy)]
