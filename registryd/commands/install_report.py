"""What an install or uninstall tells people: a line for each file, what it needs to know, what is left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.node.distribution import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.change import Change
    from registryd.node.setup import Outcome


def report_install(outcome: Outcome, *, is_done: bool, has_token: bool) -> list[str]:
    """The lines for an install that was made, or (dry run) would be."""
    facts = outcome.facts
    release = str(facts.release) if facts.release.is_known else "containerd of a version that nobody could say"
    whose = "" if facts.distribution == PLAIN else f"{facts.distribution.name}: "
    lines = [f"{whose}{release}, configured by {facts.config}"]
    lines += _changes(outcome) or ["Nothing to change: this node is set up."]
    if has_token and outcome.plan.record:
        lines.append("The hosts.toml files hold a token, so only root may read them (mode 0600).")
    return [*lines, *_notes(outcome), *_closing(outcome, is_done=is_done)]


def report_uninstall(outcome: Outcome | None, *, is_done: bool) -> list[str]:
    """The lines for an uninstall; None: there was nothing of ours."""
    if outcome is None:
        return ["Nothing to take back: registryd is not set up on this node."]
    return [*_changes(outcome), *_notes(outcome), *_closing(outcome, is_done=is_done)]


def _changes(outcome: Outcome) -> list[str]:
    return [f"  {_verb(change):8} {change.path}: {change.why}" for change in outcome.plan.changes]


def _verb(change: Change) -> str:
    if change.after is None:
        return "remove"
    return "change" if change.before else "create"


def _notes(outcome: Outcome) -> list[str]:
    return [f"  note     {note}" for note in outcome.plan.notes]


def _closing(outcome: Outcome, *, is_done: bool) -> Iterator[str]:
    if not is_done:
        yield "Nothing was changed: this was a dry run."
    elif outcome.restarted:
        yield "containerd was restarted and has read its configuration."
    if outcome.restart_due and not outcome.restarted:
        command = " ".join(outcome.facts.distribution.restart) or f"restart {outcome.facts.distribution.name}"
        yield f"containerd must be restarted, because it reads {outcome.facts.config} only when it starts: {command}"
    elif is_done and outcome.plan.changes and not outcome.restarted:
        yield "No restart is needed: containerd reads hosts.toml files at every pull."
    if is_done and outcome.plan.record and outcome.plan.touches_config and not outcome.was_checked:
        yield "containerd's program was not found here, so nobody asked it whether it takes the changed configuration."
