"""Putting our hosts first into a hosts.toml, and taking them out, with everything else as it was."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from registryd.node.errors import CannotMerge
from registryd.node.hosts_entry import MARKS
from registryd.node.toml_sections import Section, lines_of, newline_of, sections_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from registryd.node.hosts_entry import MirrorEntry

_NO_SETTING = re.compile(r"[ \t]*(?:#.*)?\r?\n?")


def put_first(text: str, *entries: MirrorEntry, then: str = "") -> str:
    """The text with our hosts before all others, and the tables of `then` right after them.

    A host of the same URL that is there already gives way. Raises CannotMerge when it is no TOML, or has its hosts in
    a form (inline, or dotted keys) that a table cannot be put before.
    """
    urls = [entry.url for entry in entries]
    before = take_out(text, *urls)
    newline = newline_of(before)
    block = "".join(entry.to_toml(newline) for entry in entries) + then.replace("\n", newline)
    after = _insert(before, block, newline)
    _require_only_added(before, after, urls, then)
    return after


def take_out(text: str, *urls: str) -> str:
    """The text without the hosts of these URLs. Raises CannotMerge when that is not possible, or it is no TOML."""
    try:
        sections = sections_of(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"is not TOML: {error}") from error
    result = "".join(_without(sections, urls))
    if _without_hosts(tomllib.loads(text), urls) != _without_empty_hosts(_parse(result)):
        raise CannotMerge(f"has {' or '.join(urls)} in a form that only a person can take out")
    return result


def hosts_in_order(text: str) -> list[str]:
    """The hosts as containerd 2 finds them: by their tables' headers, in the order of the file."""
    found = [section.path[1] for section in sections_of(text) if len(section.path) > 1 and section.path[0] == "host"]
    return list(dict.fromkeys(found))


def hosts_with_mark(text: str, marks: Collection[str]) -> list[str]:
    """The hosts of ours that have one of these lines right above them, in order."""
    found, above = [], ""
    for section in sections_of(text):
        if section.path[:1] == ("host",) and lines_of(above)[-1:] and lines_of(above)[-1].strip() in marks:
            found.append(section.path[1])
        above = section.text
    return found


# Putting in


def _insert(text: str, block: str, newline: str) -> str:
    head, tail = _cut(sections_of(text))
    if head and not head.endswith("\n"):
        head += newline
    return head + block + (newline + tail if tail else "")


def _cut(sections: list[Section]) -> tuple[str, str]:
    """Cut the file where registryd's table belongs: before the first table of hosts and the comment right above it."""
    first = next((number for number, each in enumerate(sections) if each.path[:1] == ("host",)), len(sections))
    head = "".join(section.text for section in sections[:first])
    tail = "".join(section.text for section in sections[first:])
    lines = lines_of(head)
    start = len(lines)
    while tail and start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    # A comment that begins the file is about the file; k3s knows its own files by their first line.
    return (head, tail) if start == 0 else ("".join(lines[:start]), "".join(lines[start:]) + tail)


def _require_only_added(before: str, after: str, urls: Sequence[str], then: str) -> None:
    order = [*urls, *_parse(then).get("host", {})]
    rest, expected = _without_hosts(_parse(after), order), _without_hosts(_parse(before), order)
    if set(hosts_in_order(before)) != set(_parse(before).get("host", {})):
        # 1.6 and 1.7 try a host that is written inline before all that have a table; 2.x does not see it.
        raise CannotMerge("has a host without a [host] table of its own")
    if rest != expected or hosts_in_order(after) != [*order, *(h for h in hosts_in_order(before) if h not in order)]:
        raise CannotMerge("has its hosts in a form that ours cannot be put before")


# Taking out


def _without(sections: Iterable[Section], urls: Collection[str]) -> Iterable[str]:
    pieces: list[str] = []
    for section in sections:
        if len(section.path) > 1 and section.path[0] == "host" and section.path[1] in urls:
            if pieces:
                pieces[-1] = _without_mark(pieces[-1])
            pieces.append(_remains(section))
        else:
            pieces.append(section.text)
    return pieces


def _without_mark(text: str) -> str:
    lines = lines_of(text)
    return "".join(lines[:-1]) if lines and lines[-1].strip() in MARKS else text


def _remains(section: Section) -> str:
    """The lines after the last setting of registryd's table: comments of the next table, without our own empty line."""
    lines = section.lines
    end = max(number for number, line in enumerate(lines, 1) if not _NO_SETTING.fullmatch(line))
    rest = lines[end:]
    return "".join(rest[1:] if rest and not rest[0].strip() else rest)


# Comparing


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"leaves no place for our entry: {error}") from error


def _without_hosts(document: dict[str, Any], urls: Collection[str]) -> dict[str, Any]:
    hosts = document.get("host")
    if not isinstance(hosts, dict):
        return document
    return _without_empty_hosts(document | {"host": {name: host for name, host in hosts.items() if name not in urls}})


def _without_empty_hosts(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "host" or value != {}}
