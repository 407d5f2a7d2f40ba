"""Writes the pages: `python -m documentation [FOLDER]` (./dev reference)."""

from __future__ import annotations

import sys
from pathlib import Path

from documentation.reference import PAGES


def main(folder: Path) -> None:
    for name, page in PAGES.items():
        (folder / name).write_text(page())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs")
