"""Programs of the node, run from here."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.node.host_root import HostRoot

# Answers come within a tenth of a second; a node under load may need more.
PATIENCE: Final = 20.0
# systemd gives a service 90 s to stop and as many to start by default.
_RESTART_SECONDS: Final = 180
# chroot's own exit codes: it may not, or there is no such program below the root.
_NOT_RUN: Final = frozenset({125, 126, 127})
_SHOWN: Final = 300  # characters of what a program said


@dataclass(frozen=True, slots=True)
class HostCommands:
    """Runs programs of the node, below its root if that is mounted elsewhere; waits `patience` seconds for each."""

    root: HostRoot
    patience: float = PATIENCE

    def complaint(self, argv: Sequence[str]) -> str:
        """The error of a command; empty: none."""
        try:
            answer = self.run(argv, timeout=_RESTART_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(argv)}: {error}"
        return f"{' '.join(argv)}: {end_of(answer.stderr) or answer.returncode}" if answer.returncode else ""

    def run(
        self, argv: Sequence[str], *, executable: Path | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Raises `OSError` or `subprocess.TimeoutExpired`; the exit code is the caller's business.

        `executable` is what is run under the name of `argv[0]`, where that is not it; only on this very node.
        """
        inside = [] if self.root.path == Path("/") else ["chroot", str(self.root.path)]
        answer = subprocess.run(  # noqa: S603 - the program is the node's containerd, or what the operator named
            [*inside, *argv],
            executable=None if inside else executable,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout or self.patience,
            check=False,
        )
        if inside and answer.returncode in _NOT_RUN:
            raise OSError(end_of(answer.stderr))
        return answer


def end_of(text: str) -> str:
    """As much of what a program said as a line of ours can have."""
    return text.strip()[-_SHOWN:]
