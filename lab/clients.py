"""Clients other than containerd. Each copies an image of a plain HTTP registry to a folder and says what it got."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from lab.commands import require, run
from lab.programs import obtain_programs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.namespaces import Namespace


class Client(Protocol):
    """A program that pulls."""

    async def pull(self, registry: str, name: str, target: Path) -> frozenset[str]:
        """Pull `name`, such as demo/app:v1, of the registry at `registry`, host:port with or without a path.

        Returns the digests of what came; `target` is a folder that is not there yet. Raises CommandError.
        """


@dataclass(frozen=True)
class LayoutClient:
    """One that copies images to OCI layouts; `{source}`, `{host}` and `{layout}` are filled in."""

    command: Sequence[str]
    namespace: Namespace

    async def pull(self, registry: str, name: str, target: Path) -> frozenset[str]:
        target.mkdir(parents=True)  # noqa: ASYNC240 - the lab has no other tasks
        values = {"source": f"{registry}/{name}", "host": registry.partition("/")[0], "layout": str(target / "layout")}
        argv = [argument.format_map(values) for argument in self.command]
        await run(*self.namespace.command(*argv), environment={"HOME": str(target)})
        return frozenset(path.name for path in (target / "layout" / "blobs").glob("*/*"))


@dataclass(frozen=True)
class Podman:
    """Pulls into a storage of its own, from a mirror that its registries.conf names."""

    program: str
    namespace: Namespace

    async def pull(self, registry: str, name: str, target: Path) -> frozenset[str]:
        (target / "run").mkdir(parents=True)
        configuration = target / "registries.conf"
        configuration.write_text(_REGISTRIES_CONF.format(mirror=registry))
        storage = ("--root", str(target / "root"), "--runroot", str(target / "run"), "--storage-driver", "vfs")
        podman = (self.program, *storage, "--tmpdir", str(target / "tmp"), "--events-backend", "none")
        environment = {"CONTAINERS_REGISTRIES_CONF": str(configuration), "HOME": str(target)}
        reference = f"origin.lab/{name}"
        await run(*self.namespace.command(*podman, "pull", "--quiet", reference), environment=environment)
        said = await run(*self.namespace.command(*podman, "image", "inspect", reference), environment=environment)
        [image] = json.loads(said)
        return frozenset([image["Digest"], image["Id"], *image["RootFS"]["Layers"]])


# Nobody listens at the registry's own place: what comes is the mirror's.
_REGISTRIES_CONF: Final = """
[[registry]]
prefix = "origin.lab"
location = "127.0.0.1:9"
insecure = true
[[registry.mirror]]
location = "{mirror}"
insecure = true
"""
NAMES: Final = ("crane", "oras", "regctl", "skopeo", "podman")


async def obtain_client(name: str, namespace: Namespace) -> Client:
    """One of NAMES, to run in the namespace. Raises UnavailableError."""
    match name:
        case "podman":
            return Podman(require("podman", package="podman"), namespace)
        case "skopeo":
            skopeo = require("skopeo", package="skopeo")
            options = ("--all", "--preserve-digests", "--src-tls-verify=false")
            return LayoutClient((skopeo, "copy", *options, "docker://{source}", "oci:{layout}:it"), namespace)
        case "crane":
            crane = str(await obtain_programs("ggcr") / "crane")
            return LayoutClient((crane, "pull", "--insecure", "--format", "oci", "{source}", "{layout}"), namespace)
        case "oras":
            oras = str(await obtain_programs("oras") / "oras")
            to = ("--from-plain-http", "--to-oci-layout")
            return LayoutClient((oras, "copy", *to, "{source}", "{layout}:it"), namespace)
        case _:
            regctl = str(await obtain_programs("regctl") / "regctl")
            host = ("--host", "reg={host},tls=disabled")
            return LayoutClient((regctl, *host, "image", "copy", "{source}", "ocidir://{layout}:it"), namespace)
