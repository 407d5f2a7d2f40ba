"""Flags, environment and file become `Settings`; a flag goes before a variable, that before the file.

Whatever is wrong is one `SettingsError` that names the key, where it came from and what would have been accepted.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from registryd.config.agent import Settings, SettingsError
from registryd.config.options import Option, all_options

CONFIG_VARIABLE = "REGISTRYD_CONFIG"

# Kubernetes gives every pod such variables for each Service of its namespace; ours may well be called registryd.
_OF_KUBERNETES = re.compile(r"REGISTRYD_(SERVICE_(HOST|PORT)|PORT)(_[A-Z0-9_]+)?")
_LONGEST_QUOTE = 80


@dataclass(frozen=True, slots=True)
class GivenSetting:
    """What one source says about one key, and what to call that source in an error."""

    texts: tuple[str, ...]
    source: str


def load(*, flags: Mapping[str, Sequence[str]], environment: Mapping[str, str], file: Path | None) -> Settings:
    """Settings of the three sources; `flags` are texts by key. `REGISTRYD_CONFIG` names the file if `file` does not."""
    named = environment.get(CONFIG_VARIABLE)
    path = file or (Path(named) if named else None)
    given = _from_file(path) if path else {}
    given |= _from_environment(environment)
    given |= {key: GivenSetting(tuple(texts), all_options()[key].flag) for key, texts in flags.items()}
    return Settings(**{section.name: _subsystem(section.name, section.type, given) for section in fields(Settings)})


# The sources


def _from_environment(environment: Mapping[str, str]) -> dict[str, GivenSetting]:
    keys = {option.variable: key for key, option in all_options().items()}
    given = {}
    for variable, text in environment.items():
        if variable in keys:
            given[keys[variable]] = GivenSetting((text,), variable)
        elif (
            variable.startswith("REGISTRYD_") and variable != CONFIG_VARIABLE and not _OF_KUBERNETES.fullmatch(variable)
        ):
            raise SettingsError(variable, f"there is no such setting{_suggest(variable, keys)}")
    return given


def _from_file(path: Path) -> dict[str, GivenSetting]:
    given = {}
    for section, table in _read_toml(path).items():
        for key, value in _entries(section, table):
            if key not in all_options():
                raise SettingsError(key, f"there is no such setting (in {path}){_suggest(key, all_options())}")
            given[key] = GivenSetting(_texts(value), str(path))
    return given


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("config", f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError("config", f"{path} is not TOML: {error}") from error


def _entries(section: str, table: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(table, dict):
        return ((f"{section}.{name}", value) for name, value in table.items())
    return [(section, table)]


def _texts(value: Any) -> tuple[str, ...]:
    match value:
        case list():
            return tuple(_text(item) for item in value)
        case dict() if any(isinstance(item, dict) for item in value.values()):
            return (json.dumps(value, default=str),)
        case dict():
            return tuple(f"{name}={_text(item)}" for name, item in value.items())
        case _:
            return (_text(value),)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# From texts to values


def _subsystem(section: str, kind: Any, given: Mapping[str, GivenSetting]) -> Any:
    options = [option for option in all_options().values() if option.section == section and option.key in given]
    values = {option.name: _value(option, given[option.key]) for option in options}
    try:
        return kind(**values)
    except SettingsError as error:
        if error.key not in given:
            raise
        raise SettingsError(error.key, f"{error.problem}, got {_quote(given[error.key])}") from error


def _value(option: Option, given: GivenSetting) -> Any:
    try:
        return option.read(given.texts)
    except SettingsError as error:
        raise SettingsError(option.key, str(error)) from error
    except (ValueError, LookupError) as error:
        raise SettingsError(option.key, f"expected {option.accepts}; got {_quote(given)}") from error


def _quote(given: GivenSetting) -> str:
    text = ",".join(given.texts)
    shown = text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
    return f"{shown!r} (from {given.source})"


def _suggest(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    if close:
        return f"; did you mean {close}?"
    section, dot, _ = name.partition(".")
    siblings = [key for key in known if dot and key.startswith(f"{section}.")]
    return f"; there are {', '.join(siblings)}" if siblings else "; `registryd agent --help` lists them"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant. Only slips of the finger: a far-fetched guess misleads."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
