"""Registries of others than the origin, each as its project ships it, on loopback."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from lab.fetch import fetch
from lab.process import running
from lab.programs import obtain_programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from lab.namespaces import Namespace

_OK: Final = 200


def _distribution(programs: Path, folder: Path, port: int) -> list[str]:
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    path = folder / "registry.json"
    path.write_text(json.dumps(settings))
    return [str(programs / "registry"), "serve", str(path)]


def _ggcr(programs: Path, _: Path, port: int) -> list[str]:
    """In memory, and on loopback whatever one asks for."""
    return [str(programs / "registry"), "-port", str(port)]


def _olareg(programs: Path, folder: Path, port: int) -> list[str]:
    return [str(programs / "olareg"), "serve", "--addr", "127.0.0.1", "--port", str(port), "--dir", str(folder)]


_COMMANDS: Final[dict[str, Callable[[Path, Path, int], list[str]]]] = {
    "distribution": _distribution,
    "ggcr": _ggcr,
    "olareg": _olareg,
}
KINDS: Final = tuple(_COMMANDS)


@contextlib.asynccontextmanager
async def running_registry(
    kind: str, folder: Path, *, port: int, namespace: Namespace | None = None
) -> AsyncIterator[str]:
    """An empty registry of one of KINDS, for the length of the block; gives its host:port."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 - the lab has no other tasks
    command = _COMMANDS[kind](await obtain_programs(kind), folder, port)
    address = f"127.0.0.1:{port}"
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    log = folder.with_suffix(".log")
    async with running(command, log=log, namespace=namespace, environment=environment) as process:

        async def is_ready() -> bool:
            try:
                return (await fetch(f"http://{address}/v2/", namespace=namespace)).status == _OK
            except OSError:
                return False

        await process.wait_ready(is_ready)
        yield address
