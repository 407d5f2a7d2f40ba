"""What tests have seen, as tables in Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

PROPERTY = "seen on a real Kubernetes"
_BEGIN = "<!-- tables: written by ./dev kubernetes -->\n"
_END = "<!-- end of tables -->\n"


@dataclass(frozen=True)
class Row:
    table: str
    cells: dict[str, str]  # by column

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Row:
        return cls(**json.loads(text))


def tables(rows: list[Row]) -> str:
    """In the order in which they began; a column that a row does not know stays empty."""
    return "\n".join(_table(name, rows) for name in dict.fromkeys(row.table for row in rows))


def with_tables(document: str, text: str) -> str:
    """The document with these tables between its marks; ValueError without any."""
    before, _, rest = document.partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError("the document has no marks for the tables")
    return f"{before}{_BEGIN}\n{text}\n{_END}{after}"


def _table(name: str, rows: list[Row]) -> str:
    own = [row.cells for row in rows if row.table == name]
    columns = list(dict.fromkeys(column for cells in own for column in cells))
    lines = [f"### {name}", "", _line(columns), _line(["---"] * len(columns))]
    return "\n".join([*lines, *(_line([cells.get(column, "") for column in columns]) for cells in own), ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
