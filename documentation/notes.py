"""The lines of one version in CHANGELOG.md: `python -m documentation.notes v1.2.3`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str:
    """What stands under the version's heading. Raises LookupError when there is none."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, _, body = section.partition("\n")
        if heading.split()[0].strip("[]") == version.removeprefix("v"):
            return body.strip()
    raise LookupError(f"CHANGELOG.md has no section of {version}")


if __name__ == "__main__":
    try:
        print(notes(CHANGELOG.read_text(), sys.argv[1]))
    except LookupError as error:
        sys.exit(str(error))
