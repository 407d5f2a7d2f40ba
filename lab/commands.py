"""Commands that run to their end."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

from lab.errors import CommandError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN_BYTES = 2000  # of what a failed command said: enough for a stack trace's end


async def run(*argv: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return what the command wrote to its standard output; CommandError carries what it said instead.

    `environment` is added to our own.
    """
    everything = {**os.environ, **(environment or {})}
    process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=everything)
    try:
        output, errors = await process.communicate(stdin.encode())
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = (errors or output)[-_SHOWN_BYTES:].decode(errors="replace").strip()
        raise CommandError(" ".join(argv), process.returncode, said)
    return output.decode(errors="replace")


def require(program: str, *, package: str) -> str:
    """Return the program's path, or say which package has it."""
    if path := shutil.which(program):
        return path
    raise UnavailableError(f"{program} is not installed (apt-get install {package})")
