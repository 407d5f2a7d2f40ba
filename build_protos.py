"""Generate the protobuf and gRPC stubs of protos/ into registryd/pb.

Runs as a hatchling build hook, so that `pip install` of a checkout, of an sdist and of a git URL all end with
stubs, and as a program (`python build_protos.py`) after a change of a .proto file.

The virtual path `registryd/pb=protos` puts every generated module below one prefix of our own: containerd's
files would otherwise generate a top-level package that hides a module of the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # as a program, in a development environment
    BuildHookInterface = object  # type: ignore[assignment, misc]

PREFIX = "registryd/pb"


def generate(root: Path) -> list[Path]:
    """Write the stubs of every .proto below root/protos; return the generated files, sorted.

    Each file takes the place of the one before it at once: what runs from this checkout meanwhile does not notice.
    Raises subprocess.CalledProcessError, with protoc's own message on stderr, when a file does not compile.
    """
    target = root / PREFIX
    with tempfile.TemporaryDirectory(prefix=".protos-", dir=root) as folder:
        made = _compile(root / "protos", Path(folder))
        generated = {target / path.relative_to(Path(folder) / PREFIX): path for path in made}
        for place, path in generated.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    for stale in {path for path in target.rglob("*.py*") if "__pycache__" not in path.parts} - generated.keys():
        stale.unlink()
    return sorted(generated)


def _compile(source: Path, out: Path) -> list[Path]:
    """The stubs, below out/registryd/pb, each folder a package."""
    protos = sorted(str(Path(PREFIX) / path.relative_to(source)) for path in source.rglob("*.proto"))
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    include = f"-I{PREFIX}={source}"
    command = [sys.executable, "-m", "grpc_tools.protoc", include, *outputs, *protos]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # protoc looks its plugins up there
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": path})  # noqa: S603
    target = out / PREFIX
    inner = (parent for path in target.rglob("*.py") for parent in path.parents if target in parent.parents)
    for folder in {target, *inner}:
        name = ".".join(folder.relative_to(out).parts)
        (folder / "__init__.py").write_text(f'"""Generated from protos/ by build_protos.py: {name}."""\n')
    return sorted(target.rglob("*.py*"))


class ProtosBuildHook(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]
    """Called by hatchling before a wheel (also an editable one) is put together."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self.target_name == "wheel":
            generate(Path(self.root))


if __name__ == "__main__":
    for path in generate(Path(__file__).parent.resolve()):
        print(path)  # noqa: T201
