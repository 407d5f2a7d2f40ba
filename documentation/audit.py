"""Known vulnerabilities of pinned requirements: `python -m documentation.audit FILE`.

Where the data cannot be had (no network, an index without it) that is one line and no failure: it says nothing about
the requirements. A vulnerability is exit 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

# A release of 2020 of which several are known. An index that says nothing of it has no data.
_KNOWN = "jinja2==2.11.2 --hash=sha256:f0a4641d3cf955324a89c04f3d94663aa4d638abe8f733ecd3582848e1c37035\n"


def main(file: str) -> int:
    try:
        _require_data()
        found = _audited(file)
    except LookupError as error:
        print(f"not audited: {error}")
        return 0
    vulnerable = _vulnerable(found)
    for each, vulnerability in vulnerable:
        fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {fixed}")
    print(f"{len(found)} packages, {len(vulnerable)} known vulnerabilities")
    return 1 if vulnerable else 0


def _require_data() -> None:
    """Raise LookupError where nothing is known of what has known vulnerabilities."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as known:
        known.write(_KNOWN)
        known.flush()
        if not _vulnerable(_audited(known.name)):
            raise LookupError("the package index has no data of vulnerabilities")


def _audited(file: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package. Raises LookupError when it could not ask."""
    audit = [sys.executable, "-m", "pip_audit", "--requirement", file, "--require-hashes", "--disable-pip"]
    form = ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([*audit, *form], capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        reason = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise LookupError(f"the data of vulnerabilities cannot be had here ({reason[:200]})") from error
    return found


def _vulnerable(found: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(each, vulnerability) for each in found for vulnerability in each.get("vulns", ())]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
