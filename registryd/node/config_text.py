"""Setting `config_path` in a text of containerd's configuration, one line of it."""

from __future__ import annotations

import copy
import re
import tomllib
from typing import Any

from registryd.node.errors import CannotMerge
from registryd.node.toml_sections import lines_of, newline_of, quoted, sections_of

_SETTING = re.compile(r"""[ \t]*(?:config_path|"config_path"|'config_path')[ \t]*=""")
# The comment by which people, and an uninstall without its record, know our setting.
MARK = "# set by `registryd install`"
# The first line of a file that is ours as a whole.
WRITTEN_BY_US = "# Written by `registryd install`."


def set_config_path(text: str, plugin: tuple[str, ...], value: str | None) -> str:
    """The text with this `config_path` (None: without one) and nothing else changed.

    Raises CannotMerge when the table is written inline or with dotted keys.
    """
    try:
        pieces = dict(enumerate(sections_of(text)))
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"is not TOML: {error}") from error
    table = (*plugin, "registry")
    newline = newline_of(text)
    line = None if value is None else f"  config_path = {quoted(value)}  {MARK}{newline}"
    found = next((number for number, section in pieces.items() if section.path == table), None)
    texts = {number: section.text for number, section in pieces.items()}
    if found is not None:
        texts[found] = _with_line(texts[found], line, newline)
    elif line is not None:
        texts[len(texts)] = _new_table(text, table, line, newline)
    result = "".join(texts.values())
    _require_only_set(text, result, table, value)
    return result


def marked_values(text: str) -> list[str]:
    """The values of registryd's settings, which have its mark."""
    marked = [line for line in lines_of(text) if _SETTING.match(line) and line.rstrip().endswith(MARK)]
    return [str(value) for line in marked for value in tomllib.loads(line).values()]


def _with_line(section: str, line: str | None, newline: str) -> str:
    lines = lines_of(section)
    if not lines[0].endswith("\n"):
        lines[0] += newline
    settings = [each for each in lines[1:] if _SETTING.match(each)]
    kept = [each for each in lines[1:] if each not in settings]
    if line is None and not "".join(kept).strip():
        return ""  # the table was only there for our line
    if line and settings:
        indented = _indent_of(settings[0]) + line.lstrip()
        return "".join([indented if each in settings else each for each in lines])
    return "".join([lines[0], *([line] if line else []), *kept])


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _new_table(text: str, table: tuple[str, ...], line: str, newline: str) -> str:
    keys = ".".join(quoted(key) if "." in key else key for key in table)
    gap = "" if not text else newline if text.endswith("\n") else newline * 2
    return f"{gap}[{keys}]{newline}{line}"


def _require_only_set(before: str, after: str, table: tuple[str, ...], value: str | None) -> None:
    try:
        result = tomllib.loads(after)
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"leaves no place to set config_path: {error}") from error
    wanted = copy.deepcopy(tomllib.loads(before))
    if value is not None:
        _table(wanted, table)["config_path"] = value
    else:
        _table(wanted, table).pop("config_path", None)
    if _without_empty(result) != _without_empty(wanted):
        raise CannotMerge("has config_path in a form that only a person can change")


def _table(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        document = document.setdefault(key, {})
    return document


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in kept.items() if value != {}}
