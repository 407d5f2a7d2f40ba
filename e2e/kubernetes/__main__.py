"""A cluster to look at: `./dev kubernetes shell`, a shell with kubectl and helm; it ends with the shell."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from e2e.kubernetes.stage import CHECKOUT, open_stage
from lab.errors import LabError


async def _main(command: list[str]) -> int:
    async with open_stage() as stage:
        cluster = stage.cluster
        sys.stderr.write(await cluster.kubectl("get", "nodes", "-o", "wide"))
        for node in cluster.nodes:
            sys.stderr.write(f"{node.name}: {' '.join(node.machine.command())}\n")
        sys.stderr.write(f"registries: {', '.join(each.name for each in stage.registries.values())}\n")
        environment = {**os.environ, **stage.environment}
        inside = cluster.plane.host.namespace.command(*(command or [os.environ.get("SHELL", "bash")]))
        process = await asyncio.create_subprocess_exec(*inside, env=environment, cwd=CHECKOUT)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise


def main() -> int:
    """The shell's exit code; what this machine lacks is one line."""
    # SIGINT too: a program that was started in the background ignores it (POSIX, 2.11), and would be left behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return asyncio.run(_main(sys.argv[1:]))
    except LabError as error:
        sys.stderr.write(f"dev kubernetes: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
