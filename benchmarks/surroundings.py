"""What a run must say besides its figures: when it was, on what machine, with which programs, beside what load."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

_PROGRAMS: Final = {"nginx": ["nginx", "-v"], "containerd": ["containerd", "--version"], "wrk": ["wrk", "-v"]}
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of one part of a run, as it begins."""

    date: str
    machine: str
    network: str
    load: str
    versions: dict[str, str]

    @classmethod
    def now(cls, network: str) -> Surroundings:
        versions = {name: _version(command) for name, command in _PROGRAMS.items() if shutil.which(command[0])}
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}",
            network=network,
            load=f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
            versions={"python": platform.python_version(), **versions},
        )

    def document(self) -> dict[str, object]:
        return asdict(self)


def _version(command: list[str]) -> str:
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    found = _VERSION.search(said.stdout + said.stderr)
    return found[0] if found else "unknown"
