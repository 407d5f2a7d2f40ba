"""The fields of `Settings` as options: what each is called in every source, and how its texts become its value."""

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum, StrEnum, auto
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from registryd.config.agent import Settings
from registryd.config.tables import tables_notation
from registryd.notation import ADDRESS, Address, Notation


class Shape(Enum):
    """How many values an option has."""

    ONE = auto()
    MANY = auto()
    PAIRS = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, as a source may give it: always texts, so that every source is read by the same rules."""

    section: str
    name: str
    shape: Shape
    notation: Notation
    default: Any
    help: str

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        return f"REGISTRYD_{self.section}_{self.name}".upper()

    @property
    def is_switch(self) -> bool:
        return self.notation is _BOOL

    @property
    def accepts(self) -> str:
        """What a value has to look like, for an error message."""
        if self.shape is Shape.ONE:
            return self.notation.accepts
        pair = "name=value with " if self.shape is Shape.PAIRS else ""
        return f"a list, each {pair}{self.notation.accepts}"

    def read(self, texts: Sequence[str]) -> Any:
        """The value that the texts stand for; raises `ValueError` if they stand for none."""
        if self.shape is Shape.PAIRS:
            return dict(self._pair(item) for item in _items(texts))
        return _read(self.shape, self.notation, texts)

    def _pair(self, text: str) -> tuple[str, Any]:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"{text!r} is not name=value")
        return name.strip(), self.notation.parse(value.strip())

    def show(self, value: Any) -> str:
        """The value as it would be written in a flag."""
        if self.shape is Shape.MANY:
            return ",".join(self.notation.show(item) for item in value)
        if self.shape is Shape.PAIRS:
            return ",".join(f"{name}={self.notation.show(item)}" for name, item in value.items())
        return self.notation.show(value)


def _read(shape: Shape, notation: Notation, texts: Sequence[str]) -> Any:
    if shape is Shape.MANY:
        return tuple(notation.parse(item) for item in _items(texts))
    if len(texts) != 1:
        raise ValueError(f"{len(texts)} values")
    return notation.parse(texts[0])


def _items(texts: Sequence[str]) -> list[str]:
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


# What the type of a field says


def _parse_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _parse_path(text: str) -> Path:
    if not text:
        # Path("") is the working directory, which nobody means by it.
        raise ValueError("'' is not a path")
    return Path(text)


def _show_path(path: Path | None) -> str:
    return str(path or "")


_BOOL = Notation(_parse_bool, lambda value: str(value).lower(), "true or false", "")
_NOTATIONS: dict[Any, Notation] = {
    bool: _BOOL,
    int: Notation(_parse_count, str, "a whole number", "NUMBER"),
    str: Notation(str, str, "a text", "TEXT"),
    Path: Notation(_parse_path, _show_path, "a path", "PATH"),
    Address: ADDRESS,
}


def _shape_and_notation(kind: Any) -> tuple[Shape, Notation]:
    if get_origin(kind) is tuple:
        return Shape.MANY, _notation(get_args(kind)[0])
    if get_origin(kind) is Mapping and is_dataclass(get_args(kind)[1]):
        return Shape.ONE, tables_notation(get_args(kind)[1], _read_field)
    if get_origin(kind) is Mapping:
        return Shape.PAIRS, _notation(get_args(kind)[1])
    return Shape.ONE, _notation(kind)


def _read_field(kind: Any, texts: Sequence[str]) -> Any:
    shape, notation = _shape_and_notation(kind)
    try:
        return _read(shape, notation, texts)
    except (ValueError, LookupError) as error:
        raise ValueError(f"expected {notation.accepts}") from error


def _notation(kind: Any) -> Notation:
    if get_origin(kind) is Annotated:
        return next(note for note in kind.__metadata__ if isinstance(note, Notation))
    if get_origin(kind) in {Union, UnionType}:
        (given,) = (part for part in get_args(kind) if part is not NoneType)
        return _or_empty(_notation(given))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return Notation(kind, str, f"one of {', '.join(kind)}", "|".join(kind))
    return _NOTATIONS[kind]


def _or_empty(notation: Notation) -> Notation:
    return Notation(
        lambda text: notation.parse(text) if text else None,
        lambda value: "" if value is None else notation.show(value),
        f"{notation.accepts}, or nothing",
        notation.metavar,
    )


# All of them


@cache
def all_options() -> Mapping[str, Option]:
    """Every option by its key, in the order of `Settings`."""
    found = [option for section in fields(Settings) for option in _options_of(section.name, section.type)]
    return {option.key: option for option in found}


def _options_of(section: str, subsystem: Any) -> list[Option]:
    helps = _texts_under_fields(subsystem)
    return [
        Option(section, each.name, *_shape_and_notation(each.type), _default(each), helps[each.name])
        for each in fields(subsystem)
    ]


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _texts_under_fields(subsystem: type) -> dict[str, str]:
    # Python keeps no docstrings of attributes, but the source does.
    body = _classes_of(subsystem.__module__)[subsystem.__name__].body
    texts = {}
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                texts[name] = " ".join(written.split())
    return texts


@cache
def _classes_of(module: str) -> Mapping[str, ast.ClassDef]:
    """Of the source, which is read once: `inspect.getsource` of a class reads that of its whole module again."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
