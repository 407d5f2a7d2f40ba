"""A plan as a unified diff for people, without the secrets in it."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING

from registryd.node.change import FileKind
from registryd.node.toml_sections import lines_of, sections_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.change import ChangePlan, FileChange
    from registryd.node.tree import FileImage

_HIDDEN = '"…"'
_VALUE = re.compile(r"(=[ \t]*)\S.*")
# Of containerd's configuration and of headers written in one line.
_SECRET = re.compile(r"""[ \t]*["']?(?:header|auth|password|identitytoken|token|username)\b""", re.IGNORECASE)
_SECRET_TABLES = frozenset({"header", "auth"})


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
        return [line for section in sections_of(image.text) for line in _masked(section.path, section.lines)]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return lines_of(image.data.decode(errors="replace"))


def _masked(path: tuple[str, ...], lines: list[str]) -> Iterator[str]:
    is_secret = bool(_SECRET_TABLES & set(path))
    for line in lines:
        is_header = line.lstrip().startswith("[")
        yield _VALUE.sub(rf"\1{_HIDDEN}", line) if (is_secret or _SECRET.match(line)) and not is_header else line
