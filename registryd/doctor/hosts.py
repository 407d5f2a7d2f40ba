"""The hosts.toml files: does containerd read them, and does it ask us first?"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from registryd.doctor.finding import Finding, ok, problem, warning
from registryd.identity.errors import IdentityError
from registryd.identity.node_token import TOKEN_HEADER, read_token
from registryd.node.errors import NodeError
from registryd.node.hosts_entry import MARK
from registryd.node.hosts_file import hosts_in_order
from registryd.node.registry_folder import DEFAULT, RegistryFolder, files_named_in, read_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.doctor.patient import Patient

_INSTALL: Final = "run `registryd install` (on Talos: `registryd talos`)"
_NEVER: Final = ("ca", "client", "skip_verify")


async def check_hosts(patient: Patient) -> list[Finding]:
    """Each folder below config_path, as containerd searches them."""
    if not patient.place.has_files and not patient.hosts_roots:
        return []
    try:
        folders = _that_count(patient)
    except NodeError as error:
        return [problem("hosts", str(error), "run doctor as root, on the node or with --root")]
    if not patient.hosts_roots:
        return [_nowhere(patient)]
    found = [finding for folder in folders for finding in _look(folder, patient)]
    ours = [folder for folder in folders if _is_ours_first(folder, patient)]
    if not ours:
        where = ", ".join(map(str, patient.hosts_roots))
        found.append(problem("hosts", f"no hosts.toml below {where} leads to {patient.place.endpoint}", _INSTALL))
    elif DEFAULT not in {folder.registry for folder in folders}:
        others = "registries without a folder of their own are not mirrored"
        found.append(warning("hosts", others, f"if that is not what you want: {_INSTALL}"))
    if ours and not found:
        names = ", ".join("all others" if folder.registry == DEFAULT else folder.registry for folder in ours)
        if patient.counts_after_a_restart:
            later = f"containerd asks the agent first for {names} once it has been restarted"
            return [warning("hosts", later, "see the finding of config_path")]
        return [ok("hosts", f"containerd asks the agent first for {names}")]
    return found


def _nowhere(patient: Patient) -> Finding:
    remedy = "see the finding of config_path"
    if isinstance(patient.config, str) or patient.has_no_containerd:
        return warning("hosts", "not looked at: where containerd looks is not known", remedy)
    return problem("hosts", "containerd looks for no hosts.toml files", remedy)


def _that_count(patient: Patient) -> list[RegistryFolder]:
    """For each registry the first folder; a later root is only searched for what the earlier ones have not."""
    found: dict[str, RegistryFolder] = {}
    for root in patient.hosts_roots:
        for folder in read_folders(patient.tree, root, patient.release):
            found.setdefault(folder.registry, folder)
        if DEFAULT in found:
            break
    return list(found.values())


def _look(folder: RegistryFolder, patient: Patient) -> Iterator[Finding]:
    name = f"hosts {folder.registry}"
    if folder.ignored_because:
        found = f"containerd silently ignores {folder.file}, because {folder.ignored_because}"
        yield problem(name, found, "repair the file, then run `registryd install` again")
        return
    if not folder.hosts:
        yield from _look_at_bare_folder(name, folder)
        return
    yield from _look_at_files(name, folder, patient)
    if not (ours := _our_url(folder, patient)):
        yield from _look_at_other(name, folder, patient)
    else:
        yield from _look_at_order(name, folder, ours)
        yield from _look_at_entry(name, folder, _hosts(folder)[ours], patient)


def _look_at_files(name: str, folder: RegistryFolder, patient: Patient) -> Iterator[Finding]:
    assert folder.hosts  # noqa: S101 - who calls has looked
    for file in sorted(files_named_in(folder.hosts.text)):
        try:
            is_there = patient.tree.read(folder.path / file) is not None
        except NodeError:
            is_there = False
        if not is_there and patient.place.has_files:
            found = f"{folder.file} names {file!r}, which is not there: every pull from {folder.registry} fails"
            yield problem(name, found, "bring the file, or take its name out")


def _look_at_bare_folder(name: str, folder: RegistryFolder) -> Iterator[Finding]:
    if folder.registry == DEFAULT:
        return
    if folder.certificates.authorities or folder.certificates.clients:
        found = f"{folder.path} has certificates only, so {folder.registry} is not mirrored"
        yield warning(name, found, f"{_INSTALL}, which keeps them")
    else:
        found = f"{folder.path} is empty: it hides _default, and the agent with it, from {folder.registry}"
        yield problem(name, found, f"remove the folder, or {_INSTALL}")


def _look_at_other(name: str, folder: RegistryFolder, patient: Patient) -> Iterator[Finding]:
    assert folder.hosts  # noqa: S101 - who calls has looked
    if MARK in folder.hosts.text:
        found = f"{folder.file} has registryd's entry for another address than {patient.place.endpoint}"
        yield problem(name, found, _INSTALL)
    else:
        yield warning(name, f"{folder.registry} is not mirrored: {folder.file} does not have the agent", _INSTALL)


def _look_at_order(name: str, folder: RegistryFolder, ours: str) -> Iterator[Finding]:
    assert folder.hosts  # noqa: S101 - who calls has looked
    order = hosts_in_order(folder.hosts.text)
    if order and order[0] != ours:
        yield warning(name, f"{folder.file} has {order[0]} before the agent, which is asked only after it", _INSTALL)


def _look_at_entry(name: str, folder: RegistryFolder, entry: dict[str, Any], patient: Patient) -> Iterator[Finding]:
    if wrong := [key for key in _NEVER if entry.get(key)]:
        found = f"{folder.file} sets {wrong[0]} for the agent: so containerd speaks TLS to it, fails, and goes on"
        yield problem(name, found, f"remove {wrong[0]} from that entry, or {_INSTALL}")
    if "pull" not in entry.get("capabilities", ["pull"]):
        yield problem(name, f"{folder.file} does not let the agent serve pulls", f"add it, or {_INSTALL}")
    token = _token(patient)
    if token and _header(entry) != token:
        found = f"{folder.file} has another token than the agent's, so every request is a miss"
        yield problem(name, found, _INSTALL)


def _token(patient: Patient) -> str:
    """Empty when there is none to compare with; what is wrong with it is the token's own finding."""
    file = patient.settings.registry.token_file
    try:
        return read_token(patient.place.root.locate(file)) if file else ""
    except IdentityError:
        return ""


def _header(entry: dict[str, Any]) -> str:
    values = {name.lower(): value for name, value in entry.get("header", {}).items()}.get(TOKEN_HEADER.lower(), "")
    return str(values[0]) if isinstance(values, list) and values else str(values)


def _is_ours_first(folder: RegistryFolder, patient: Patient) -> bool:
    return not folder.ignored_because and bool(_our_url(folder, patient))


def _our_url(folder: RegistryFolder, patient: Patient) -> str:
    """The host that is us, however it is written: Talos adds the path that containerd would add itself."""
    endpoint = patient.place.endpoint
    return next((url for url in _hosts(folder) if url.rstrip("/").removesuffix("/v2") == endpoint), "")


def _hosts(folder: RegistryFolder) -> dict[str, dict[str, Any]]:
    if not folder.hosts or folder.ignored_because:
        return {}
    hosts: dict[str, dict[str, Any]] = tomllib.loads(folder.hosts.text).get("host", {})
    return hosts
