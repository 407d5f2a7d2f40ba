"""The report of an install or uninstall: a line for each file, notes, and the work that is left to the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.node.containerd_config import roots_of
from registryd.node.distribution import PLAIN
from registryd.store.socket import PLAIN_SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.config.agent import Settings
    from registryd.node.change import FileChange
    from registryd.node.setup import SetupOutcome


def report_install(outcome: SetupOutcome, *, is_done: bool, has_token: bool) -> list[str]:
    """The lines for an install that was made, or (dry run) would be."""
    lines = [_head(outcome), *_changes(outcome)]
    if len(lines) == 1:
        lines.append("Nothing to change: this node is set up.")
    if has_token and outcome.plan.record:
        lines.append("The hosts.toml files hold a token, so only root may read them (mode 0600).")
    return [*lines, *_notes(outcome), *_closing(outcome, is_done=is_done), *_confirmed(outcome, is_done=is_done)]


def report_uninstall(outcome: SetupOutcome | None, *, is_done: bool) -> list[str]:
    """The lines for an uninstall; None: there was nothing of ours."""
    if outcome is None:
        return ["Nothing to undo: registryd is not set up on this node."]
    return [*_changes(outcome), *_notes(outcome), *_closing(outcome, is_done=is_done)]


def agents_settings(
    outcome: SetupOutcome, settings: Settings, *, token_file: Path | None, endpoint: str | None
) -> list[str]:
    """The agent's settings that belong to what was found, where they are not so already."""
    facts, store = outcome.facts, settings.store
    wanted: list[tuple[str, object, object]] = [
        ("store.containerd_socket", facts.socket, store.containerd_socket or PLAIN_SOCKET),
        ("authorization.hosts_dir", _hosts_dir(outcome), settings.authorization.hosts_dir or PLAIN.hosts),
        ("registry.token_file", token_file, settings.registry.token_file),
    ]
    if facts.told and facts.told.root:
        wanted.append(("store.containerd_root", facts.told.root, store.containerd_root))
    if endpoint:
        wanted.append(("registry.listen", endpoint.partition("://")[2], str(settings.registry.listen)))
    lines = [f"  agent    {key} = {value}" for key, value, given in wanted if value and value != given]
    if not lines:
        return []
    return ["Settings that the agent needs on this node, and that are not given here:", *lines]


def _hosts_dir(outcome: SetupOutcome) -> Path | None:
    roots = roots_of(outcome.plan.config_path)
    return roots[0] if len(roots) == 1 else None


def _head(outcome: SetupOutcome) -> str:
    facts = outcome.facts
    release = str(facts.release) if facts.release.is_known else "containerd of an unknown version"
    whose = "" if facts.distribution == PLAIN else f"{facts.distribution.name}: "
    return f"{whose}{release}, configured by {facts.config}"


def _changes(outcome: SetupOutcome) -> list[str]:
    return [f"  {_verb(change):8} {change.path}: {change.why}" for change in outcome.plan.changes]


def _verb(change: FileChange) -> str:
    if change.after is None:
        return "remove"
    return "change" if change.before else "create"


def _notes(outcome: SetupOutcome) -> list[str]:
    return [f"  note     {note}" for note in outcome.plan.notes]


def _closing(outcome: SetupOutcome, *, is_done: bool) -> Iterator[str]:
    restarted = outcome.confirmation.restarted
    if not is_done:
        yield "Nothing was changed: this was a dry run."
    elif restarted:
        yield "containerd was restarted and has read its configuration."
    if outcome.restart_due:
        command = outcome.facts.distribution.how_to_restart
        yield f"containerd must be restarted, because it reads {outcome.facts.config} only when it starts: {command}"
    elif is_done and outcome.plan.changes and not restarted:
        yield "No restart is needed: containerd reads hosts.toml files at every pull."


def _confirmed(outcome: SetupOutcome, *, is_done: bool) -> Iterator[str]:
    """By whose word it is known that containerd looks there; or that it is not known."""
    facts, judgement, path = outcome.facts, outcome.confirmation.judgement, outcome.plan.config_path
    if not (is_done and path):
        return
    if judgement.uses == path:
        yield f"containerd itself says that it looks for hosts.toml files in {path}."
    elif judgement.takes is None:
        yield f"It is not known whether containerd looks for hosts.toml files in {path}: no program was found."
    elif not facts.is_running:
        yield (
            f"No containerd answers at {facts.socket}, so it is not known yet whether it will start with "
            f"{facts.config}: run `registryd doctor` when it is."
        )
