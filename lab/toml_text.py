"""TOML from plain dictionaries: the settings of containerd, its hosts.toml and the agent are all written with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Value: TypeAlias = "str | bool | int | float | Sequence[Value] | Mapping[str, Value]"
Table: TypeAlias = Mapping[str, Value]


def to_toml(table: Table) -> str:
    """Keys keep their order; it is the order in which containerd tries hosts."""
    return "\n".join(_lines(table, ())) + "\n"


def merged(base: Table, changes: Table) -> dict[str, Value]:
    """`base` with `changes` on top, table by table."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def _lines(table: Table, path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"[{'.'.join(map(json.dumps, path))}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{json.dumps(key)} = {_inline(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, (*path, key))


def _inline(value: Value) -> str:
    if isinstance(value, str | bool | int | float):
        return json.dumps(value)  # JSON's scalars are TOML's
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(entry)}" for key, entry in value.items()) + "}"
    return f"[{', '.join(map(_inline, value))}]"
