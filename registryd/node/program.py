"""Asking containerd's program: its version, and what it makes of its configuration."""

from __future__ import annotations

import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.errors import ContainerdRefused
from registryd.node.host_commands import end_of
from registryd.node.images_settings import ContainerdImagesSettings, images_table
from registryd.node.release import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.node.host_commands import HostCommands
    from registryd.node.process import Process


@dataclass(frozen=True, slots=True)
class ContainerdProgram:
    """The node's containerd; None: it could not be found. `executable` as in Process."""

    commands: HostCommands
    path: Path | None
    executable: Path | None = None

    def release(self) -> Release:
        """The program's version; an unknown one when it cannot be asked."""
        answer = self._ask("--version")
        # "containerd github.com/containerd/containerd 1.6.20~ds1 …"
        said = answer.stdout.split("containerd/containerd", 1)[-1] if answer else ""
        return Release.parse(said.split("containerd", 1)[-1])

    def images(self, config: Path) -> ContainerdImagesSettings | None:
        """The settings of images that it reads in a configuration; None when it cannot be asked.

        Raises ContainerdRefused when it would not start with it.
        """
        answer = self._ask("--config", str(config), "config", "dump")
        if answer is None:
            return None
        if answer.returncode:
            raise ContainerdRefused(f"containerd does not take its configuration: {end_of(answer.stderr)}")
        try:
            document = tomllib.loads(answer.stdout)
        except tomllib.TOMLDecodeError:
            return None
        version = int(document.get("version", 0))
        return ContainerdImagesSettings(images_table(document, Release.of_format(version), version))

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str] | None:
        if self.path is None:
            return None
        try:
            # By its bare name: a program of many names does what it is called.
            name = self.path.name if self.executable else str(self.path)
            return self.commands.run([name, *arguments], executable=self.executable)
        except (OSError, subprocess.TimeoutExpired):
            return None


def program_of(
    commands: HostCommands, process: Process | None, candidates: Sequence[Path], running: Release
) -> ContainerdProgram:
    """The running program, if it can be seen; else the first candidate that is there and of its release."""
    path = process.program if process else None
    executable = process.executable if process else None
    if path and executable and commands.root.path == Path("/") and os.access(executable, os.X_OK):
        return ContainerdProgram(commands, path, executable)
    there = (each for each in ([path, *candidates] if path else candidates) if commands.root.locate(each).is_file())
    programs = (ContainerdProgram(commands, each) for each in there)
    # A node may have two, and what the other one thinks of a configuration is beside the point.
    fitting = (each for each in programs if not running.is_known or each.release() in (running, Release()))
    return next(fitting, ContainerdProgram(commands, None))
