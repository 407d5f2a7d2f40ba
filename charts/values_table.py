# ruff: noqa: INP001 - a script
"""Write the table of values into the chart's README.md, from the comments in its values.yaml; `--check` only compares.

A value is a key with a comment above it, and the comment, to the next key, is its text. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHART = Path(__file__).parent / "registryd"
_BEGIN = "<!-- values: written by charts/values_table.py -->\n"
_END = "<!-- end of values -->\n"


class Row(NamedTuple):
    key: str
    default: str
    text: str


def rows_of(source: str) -> Iterator[Row]:
    """The rows of a values.yaml, in its order. Raises ValueError for a value without a text."""
    root = yaml.compose(source, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - it is ours
    yield from _rows(root, source.splitlines(), "")


def table_of(rows: Iterator[Row]) -> str:
    lines = ["| value | default | |", "| --- | --- | --- |"]
    lines += [f"| `{row.key}` | `{row.default}` | {row.text} |" for row in rows]
    return "\n".join(lines) + "\n"


def with_table(readme: str, table: str) -> str:
    """The README with this table between its marks."""
    before, _, rest = readme.partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError("README.md has no marks for the table")
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"


def _rows(mapping: yaml.MappingNode, lines: Sequence[str], prefix: str) -> Iterator[Row]:
    for key, value in mapping.value:
        name = f"{prefix}{key.value}"
        text = _comment_above(lines, key.start_mark.line)
        if _has_texts_inside(value, lines):
            yield from _rows(value, lines, f"{name}.")
        elif text:
            yield Row(name, _default(value), text)
        else:
            raise ValueError(f"values.yaml says nothing about {name}")


def _has_texts_inside(value: yaml.Node, lines: Sequence[str]) -> bool:
    return isinstance(value, yaml.MappingNode) and any(
        _comment_above(lines, key.start_mark.line) for key, _ in value.value
    )


def _comment_above(lines: Sequence[str], number: int) -> str:
    found: list[str] = []
    while number and lines[number - 1].lstrip().startswith("# "):
        number -= 1
        found.insert(0, lines[number].strip().removeprefix("# "))
    return " ".join(found)


def _default(node: yaml.Node) -> str:
    return json.dumps(yaml.safe_load(yaml.serialize(node)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether README.md is up to date")
    check = parser.parse_args().check
    readme = _CHART / "README.md"
    new = with_table(readme.read_text(), table_of(rows_of((_CHART / "values.yaml").read_text())))
    if new == readme.read_text():
        return 0
    if check:
        sys.stderr.write("charts/registryd/README.md is not up to date: run charts/values_table.py\n")
        return 1
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
