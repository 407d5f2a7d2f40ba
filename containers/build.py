"""Build the container image as an OCI archive without an engine: `./dev image`, `python -m containers.build image.tar`.

For machines without Docker or buildah, such as CI, and for architectures that this machine does not have. The program
and its surroundings are the same as the Containerfile's.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

from containers.root import MACHINES, make_parts
from lab.images import CONFIG, Image, Manifest, add_index, add_manifest, local_architecture
from lab.layers import TAR, TAR_GZIP, Layer
from lab.layout import Blob, HashingWriter, Layout
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO, BinaryIO

    from containers.root import Part

_PATH = "/opt/registryd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY = "65532:65532"
_CHUNK = 1 << 20
_LEVEL = 6  # level 9 takes three times as long for one part in a hundred
# The chart's default: with this name in the archive an import needs no other.
REPOSITORY = "ghcr.io/registryd/registryd"


async def build(
    folder: Path, *, tag: str = "v1", name: str = "", compressed: bool = False, architectures: Sequence[str] = ()
) -> Image:
    """The image in a new layout in `folder`: for this machine, or an index of several architectures.

    Imported without another `name`, it has this one, without a tag.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        parts = await make_parts(Path(work), architectures or [local_architecture()])
        return await asyncio.to_thread(assemble, folder, parts, tag=tag, name=name, compressed=compressed)


def assemble(folder: Path, parts: Mapping[str, Sequence[Part]], *, tag: str, name: str, compressed: bool) -> Image:
    """Make an image of the parts of each architecture; each part is a layer."""
    layout = Layout(folder)
    tars = list(dict.fromkeys(part.tar for each in parts.values() for part in each))
    # zlib works outside of the interpreter's lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = pool.map(lambda tar: _add_layer(layout, tar, compressed=compressed), tars)
        layers = dict(zip(tars, made, strict=True))
    manifests = tuple(
        _add_manifest(layout, architecture, of_it, [layers[part.tar] for part in of_it])
        for architecture, of_it in parts.items()
    )
    root = manifests[0].blob if len(manifests) == 1 else add_index(layout, manifests)
    layout.tag(root, tag, name=f"{name}:{tag}" if name else "")
    return Image(layout, tag, root, manifests)


def _add_manifest(layout: Layout, architecture: str, parts: Sequence[Part], layers: Sequence[Layer]) -> Manifest:
    config = layout.add_document(CONFIG, _config(architecture, layers, [part.name for part in parts]))
    blobs = tuple(layer.blob for layer in layers)
    return Manifest(add_manifest(layout, config, blobs), config, blobs, architecture)


def _add_layer(layout: Layout, tar: Path, *, compressed: bool) -> Layer:
    with layout.adding() as writer, tar.open("rb") as source:
        if not compressed:
            shutil.copyfileobj(source, cast("IO[bytes]", writer), _CHUNK)
            return Layer(Blob(TAR, writer.digest, writer.size), writer.digest)
        target = cast("IO[bytes]", writer)
        with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0, compresslevel=_LEVEL) as file:
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
    parser.add_argument("--tag", default=VERSION, help="default: the version, which the chart asks for")
    parser.add_argument("--architectures", default=",".join(MACHINES), help="default: %(default)s")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.archive.parent) as folder:
        architectures = arguments.architectures.split(",")
        if unknown := set(architectures).difference(MACHINES):
            parser.error(f"there is no image for {', '.join(sorted(unknown))}: {', '.join(MACHINES)}")
        options = {"name": REPOSITORY, "tag": arguments.tag}
        made = build(Path(folder, "layout"), **options, compressed=True, architectures=architectures)
        image = asyncio.run(made)
        image.layout.archive(arguments.archive)
    for manifest in image.manifests:
        size = sum(layer.size for layer in manifest.layers)
        sys.stdout.write(f"{manifest.architecture:6} {size / 1e6:6.1f} MB  {manifest.blob.digest}\n")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{REPOSITORY}:{arguments.tag} {image.root.digest} in {arguments.archive}, {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
