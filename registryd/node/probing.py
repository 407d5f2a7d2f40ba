"""Asking the node's own containerd, by its program: its version, and whether it takes a configuration."""

from __future__ import annotations

import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.node.containerd_config import PLUGINS
from registryd.node.errors import ContainerdRefused
from registryd.node.release import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.node.host_root import HostRoot

# Answers come within a tenth of a second; a node under load may need more.
_TIMEOUT_SECONDS = 20
# systemd gives a service 90 s to stop and as many to start by default.
_RESTART_SECONDS = 180
# chroot's own exit codes: it may not, or there is no such program below the root.
_NOT_RUN = frozenset({125, 126, 127})
_SHOWN = 300  # characters of what a program said


@dataclass(frozen=True, slots=True)
class HostCommands:
    """Runs programs of the node, below its root if that is mounted elsewhere."""

    root: HostRoot

    def complaint(self, argv: Sequence[str]) -> str:
        """What went wrong with a command; empty: nothing."""
        try:
            answer = self.run(argv, timeout=_RESTART_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(argv)}: {error}"
        return f"{' '.join(argv)}: {_end(answer.stderr) or answer.returncode}" if answer.returncode else ""

    def run(self, argv: Sequence[str], *, timeout: float = _TIMEOUT_SECONDS) -> subprocess.CompletedProcess[str]:
        """Raises `OSError` or `subprocess.TimeoutExpired`; the exit code is the caller's business."""
        inside = [] if self.root.path == Path("/") else ["chroot", str(self.root.path)]
        answer = subprocess.run(  # noqa: S603 - the program is the node's containerd, or what the operator named
            [*inside, *argv], capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
        if inside and answer.returncode in _NOT_RUN:
            raise OSError(_end(answer.stderr))
        return answer


@dataclass(frozen=True, slots=True)
class ContainerdProgram:
    """The node's containerd; None: it could not be found."""

    commands: HostCommands
    path: Path | None

    def release(self) -> Release:
        """Its version; an unknown one when it cannot be asked."""
        said = self._ask("--version")
        # "containerd github.com/containerd/containerd 1.6.20~ds1 …"
        return Release.parse(said.split("containerd/containerd", 1)[-1].split("containerd", 1)[-1] if said else "")

    def require_accepted(self, config: Path, config_path: str) -> bool:
        """Whether it could be asked. Raises ContainerdRefused when it reads the configuration in another way."""
        if self.path is None:
            return False
        try:
            answer = self.commands.run([str(self.path), "--config", str(config), "config", "dump"])
        except (OSError, subprocess.TimeoutExpired):
            return False
        if answer.returncode:
            raise ContainerdRefused(f"containerd refuses the changed configuration: {_end(answer.stderr)}")
        found = _config_path(tomllib.loads(answer.stdout))
        if found != config_path:
            raise ContainerdRefused(f"containerd takes {found!r} for its config_path, not {config_path!r}")
        return True

    def _ask(self, *arguments: str) -> str:
        if self.path is None:
            return ""
        try:
            return self.commands.run([str(self.path), *arguments]).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ""


def find_program(root: HostRoot, candidates: Sequence[Path]) -> ContainerdProgram:
    """The first of the candidates that is there."""
    found = next((path for path in candidates if root.locate(path).is_file()), None)
    return ContainerdProgram(HostCommands(root), found)


def _config_path(document: dict[str, Any]) -> str:
    for plugin in reversed(PLUGINS.values()):
        table: Any = document
        for key in (*plugin, "registry"):
            table = table.get(key, {})
        if "config_path" in table:
            return str(table["config_path"])
    return ""


def _end(text: str) -> str:
    return text.strip()[-_SHOWN:]
