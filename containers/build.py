"""Build the container image as an OCI archive without an engine: `python -m containers.build image.tar`.

For machines without Docker or buildah, such as CI. The same as the Containerfile's.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from containers.root import make_parts
from registryd.lab.images import CONFIG, Image, Manifest, add_manifest, local_architecture
from registryd.lab.layers import TAR, TAR_GZIP, Layer
from registryd.lab.layout import Blob, HashingWriter, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, BinaryIO

    from containers.root import Part

_PATH = "/opt/registryd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY = "65532:65532"
_CHUNK = 1 << 20


async def build(folder: Path, *, tag: str = "v1", compressed: bool = False) -> Image:
    """The image in a new layout in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        parts = await make_parts(Path(work))
        return await asyncio.to_thread(assemble, folder, parts, tag=tag, compressed=compressed)


def assemble(folder: Path, parts: Sequence[Part], *, tag: str, compressed: bool) -> Image:
    """Make an image of these parts, each a layer."""
    layout = Layout(folder)
    layers = [_add_layer(layout, part.tar, compressed=compressed) for part in parts]
    architecture = local_architecture()
    config = layout.add_document(CONFIG, _config(architecture, layers, [part.name for part in parts]))
    blobs = tuple(layer.blob for layer in layers)
    manifest = Manifest(add_manifest(layout, config, blobs), config, blobs, architecture)
    layout.tag(manifest.blob, tag)
    return Image(layout, tag, manifest.blob, (manifest,))


def _add_layer(layout: Layout, tar: Path, *, compressed: bool) -> Layer:
    with layout.adding() as writer, tar.open("rb") as source:
        if not compressed:
            shutil.copyfileobj(source, cast("IO[bytes]", writer), _CHUNK)
            return Layer(Blob(TAR, writer.digest, writer.size), writer.digest)
        with gzip.GzipFile(filename="", mode="wb", fileobj=cast("IO[bytes]", writer), mtime=0) as file:
            plain = HashingWriter(cast("BinaryIO", file))
            shutil.copyfileobj(source, cast("IO[bytes]", plain), _CHUNK)
    return Layer(Blob(TAR_GZIP, writer.digest, writer.size), plain.digest)


def _config(architecture: str, layers: Sequence[Layer], names: Sequence[str]) -> dict[str, object]:
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": [f"PATH={_PATH}", "PYTHONDONTWRITEBYTECODE=1"],
            "Entrypoint": ["registryd"],
            "Cmd": ["agent"],
            "User": _NOBODY,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": f"containers.build: {name}"} for name in names],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="the OCI archive to write")
    parser.add_argument("--tag", default="latest")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = asyncio.run(build(Path(folder, "layout"), tag=arguments.tag, compressed=True))
        image.layout.archive(arguments.archive)
    for layer in image.local.layers:
        sys.stdout.write(f"{layer.size / 1e6:6.1f} MB {layer.digest}\n")


if __name__ == "__main__":
    main()
