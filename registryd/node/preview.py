"""A plan as a unified diff for people, without the secrets in it."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any

from registryd.node.change import FileKind
from registryd.node.toml_sections import sections_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.change import ChangePlan, FileChange
    from registryd.node.toml_sections import Section
    from registryd.node.tree import FileImage

_HIDDEN = '"…"'
_VALUE = re.compile(r"(=[ \t]*)\S.*")
# Of hosts.toml and of containerd's configuration, however deep in a table that is written in one line.
_SECRET_KEYS = frozenset({"header", "headers", "auth", "auths", "password", "identitytoken", "token", "username"})
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s\"']*@")


def diff_of(plan: ChangePlan) -> str:
    """The changes as a diff, file by file; values of headers and passwords are left out."""
    return "".join(line for change in plan.changes for line in _diff(change))


def _diff(change: FileChange) -> Iterator[str]:
    before, after = (_lines(change.kind, image) for image in (change.before, change.after))
    names = [str(change.path) if image else "/dev/null" for image in (change.before, change.after)]
    yield f"# {change.path}: {change.why}\n"
    yield from (
        line if line.endswith("\n") else f"{line}\n" for line in difflib.unified_diff(before, after, names[0], names[1])
    )
    if change.before and change.after and change.before.mode != change.after.mode:
        yield f"mode {change.before.mode:04o} becomes {change.after.mode:04o}\n"


def _lines(kind: FileKind, image: FileImage | None) -> list[str]:
    if image is None:
        return []
    if kind is FileKind.OWN:
        return [f"{_HIDDEN}\n"]
    try:
        shown = [line for section in sections_of(image.text) for line in _masked(section)]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return [f"{_HIDDEN} (this is not TOML)\n"]
    return [_LOGIN_IN_URL.sub("…@", line) for line in shown]


def _masked(section: Section) -> Iterator[str]:
    is_secret = not _SECRET_KEYS.isdisjoint(map(str.lower, section.path))
    for statement, said in _statements(section):
        if said and (is_secret or _has_secret(said)):
            # Without the lines on which the value goes on.
            yield _VALUE.sub(rf"\1{_HIDDEN}", statement[0])
        else:
            yield from statement


def _statements(section: Section) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Lines that are TOML together, with what they say: nothing, if they are a comment or the header of a table."""
    statement: list[str] = []
    for number, line in enumerate(section.lines):
        statement.append(line)
        if number == 0 and section.path:
            yield statement, {}
        else:
            try:
                said = tomllib.loads("".join(statement))
            except tomllib.TOMLDecodeError:
                continue
            yield statement, said
        statement = []


def _has_secret(table: dict[str, Any]) -> bool:
    return any(
        key.lower() in _SECRET_KEYS or (isinstance(value, dict) and _has_secret(value)) for key, value in table.items()
    )
