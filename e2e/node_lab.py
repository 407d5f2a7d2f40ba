"""A node for `registryd install`: a real containerd whose files are ours to write, and a mirror that only listens.

The lab's own Containerd writes its configuration at each start; here that is what the tests are about.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.commands import run
from lab.containerd_config import Options, Places, config_toml
from lab.cri import ImageService
from lab.fetch import fetch
from lab.process import Process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.namespaces import Namespace
    from lab.toml_text import Table
    from lab.versions import Release

MIRROR = "127.0.0.1:3172"
_MIRROR_PROGRAM = """
import http.server, json, sys
class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    version_string = lambda self: "registryd"
    def do_GET(self):
        with open(sys.argv[1], "a") as log:
            log.write(json.dumps([self.command, self.path, self.headers.get("Registryd-Token")]) + "\\n")
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", 3172), Mirror).serve_forever()
"""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    token: str | None

    @property
    def registry(self) -> str:
        return self.path.partition("ns=")[2].replace("%3A", ":")


@dataclass
class NodeLab:
    """One node: containerd's folder, its namespace, what the mirror on it was asked."""

    release: Release
    places: Places
    namespace: Namespace
    images: ImageService
    containerd: Process | None = None

    # containerd

    def write_config(self, text: str) -> None:
        self.places.config.write_text(text)

    async def start(self) -> None:
        argv = [self.release.containerd, "--config", str(self.places.config)]
        environment = {"PATH": f"{self.release.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        log = self.places.folder / "containerd.log"
        self.containerd = await Process.start(argv, log=log, namespace=self.namespace, environment=environment)
        await self.containerd.wait_ready(self.images.is_ready)

    async def stop(self) -> None:
        if self.containerd:
            await self.containerd.stop()
        if self._restarted.exists():
            await run(
                "sh", "-c", f"kill $(cat {self._restarted}) && tail --pid=$(cat {self._restarted}) -f /dev/null || true"
            )
            self._restarted.unlink()

    @property
    def _restarted(self) -> Path:
        return self.places.folder / "restarted.pid"

    @property
    def _restart(self) -> Path:
        return self.places.folder / "restart.sh"

    def restart_command(self) -> str:
        """What restarts this containerd as systemctl would: it comes back when the new one is on its way."""
        assert self.containerd
        log = self.places.folder / "containerd.log"
        start = f"{self.release.containerd} --config {self.places.config}"
        self._restart.write_text(
            f"""#!/bin/sh
pid=$(cat {self._restarted} 2>/dev/null || echo {self.containerd.pid})
kill $pid; tail --pid=$pid -f /dev/null
PATH={self.release.programs}:$PATH setsid {start} >>{log} 2>&1 </dev/null &
echo $! >{self._restarted}
"""
        )
        return f"sh {self._restart}"

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def dump(self) -> str:
        return await run(self.release.containerd, "--config", str(self.places.config), "config", "dump")

    async def pull(self, reference: str) -> None:
        await self.images.remove(reference)
        await self.images.pull(reference, timeout=60)

    # registryd

    async def registryd(self, *words: str) -> str:
        paths = ["--containerd-config", self.places.config, "--containerd-program", self.release.containerd]
        state = ["--state", self.places.folder / "state-of-registryd"]
        command = [sys.executable, "-m", "registryd", *words, *map(str, [*paths, *state])]
        return await run(*self.namespace.command(*command))

    def asked(self) -> list[Asked]:
        """What the mirror was asked since this was called last."""
        log = self.places.folder / "mirror.json"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return [asked for asked in (Asked(*json.loads(line)) for line in lines) if asked.registry]

    # Files

    def hosts(self, registry: str, text: str | None) -> Path:
        """Write a hosts.toml; None makes its folder only."""
        folder = self.places.hosts / registry
        folder.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (folder / "hosts.toml").write_text(text)
        return folder

    def files(self) -> dict[str, tuple[int, bytes | None]]:
        """Everything that an install may touch, with modes."""
        found = {}
        kept = {self.places.root, self.places.state, self._restarted, self._restart}
        for path in self.places.folder.rglob("*"):
            is_containerds = any(each in (path, *path.parents) for each in kept) or path.suffix in {".log", ".json"}
            if not is_containerds and not path.is_socket():
                status = path.lstat()
                found[str(path)] = status.st_mode, path.read_bytes() if path.is_file() else None
        return found


@contextlib.asynccontextmanager
async def running_node(
    release: Release, folder: Path, namespace: Namespace, config: str = ""
) -> AsyncIterator[NodeLab]:
    """A node whose containerd runs with the given configuration, and whose mirror has nothing."""
    places = Places(folder)
    places.hosts.mkdir(parents=True)
    node = NodeLab(release, places, namespace, ImageService(places.socket))
    node.write_config(config or config_toml(release, places, Options()))
    argv = [sys.executable, "-c", _MIRROR_PROGRAM, str(folder / "mirror.json")]
    async with running(argv, log=folder / "mirror.log", namespace=namespace) as mirror:
        await mirror.wait_ready(lambda: _answers(namespace))
        try:
            await node.start()
            yield node
        finally:
            await node.stop()


async def _answers(namespace: Namespace) -> bool:
    try:
        return (await fetch(f"http://{MIRROR}/v2/", namespace=namespace)).status > 0
    except OSError:
        return False


def config_without_path(release: Release, places: Places, extra: Table) -> str:
    """The lab's configuration of that version without a config_path."""
    text = config_toml(release, places, Options(extra=extra))
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith('"config_path"'))
