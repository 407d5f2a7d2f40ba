"""Settings that come by name, each a table of its own: written in JSON where there is no TOML file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from registryd.failures import SettingsError
from registryd.json_text import parse_json
from registryd.notation import Notation

ReadField = Callable[[Any, Sequence[str]], Any]
"""Reads the texts of a field of that type; raises ValueError or LookupError."""


def tables_notation(kind: Any, read: ReadField) -> Notation:
    """How a mapping from names to dataclasses of this kind is written."""

    def parse(text: str) -> Mapping[str, Any]:
        tables = parse_json(text or "{}")
        if not isinstance(tables, dict):
            raise ValueError("not an object")  # noqa: TRY004 - a value that is not one of the notation's
        return {name: _table(kind, name, table, read) for name, table in tables.items()}

    return Notation(parse, ", ".join, 'tables by name, in JSON {"NAME": {"KEY": VALUE}}', "JSON")


def _table(kind: Any, name: str, table: Any, read: ReadField) -> Any:
    if not isinstance(table, dict):
        raise SettingsError(name, "expected a table of keys")
    known = {field.name: field.type for field in fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"{name}.{key}", f"there is no such key; there are {', '.join(known)}")
        try:
            values[key] = read(known[key], _texts(value))
        except (ValueError, LookupError) as error:
            raise SettingsError(f"{name}.{key}", f"{error}, got {str(value)[:80]!r}") from error
    try:
        return kind(**values)
    except ValueError as error:
        raise SettingsError(name, str(error)) from error


def _texts(value: Any) -> Sequence[str]:
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
