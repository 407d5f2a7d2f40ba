"""OCI image layouts as other tools write them: nothing of registryd's own writer is used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes.images import raw_descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.oci.digest import Digest
    from tests.fakes.images import SampleImage


def blob_path(root: Path, digest: Digest) -> Path:
    return root / "blobs" / digest.algorithm / digest.encoded


def read_index(root: Path) -> dict[str, Any]:
    path = root / "index.json"
    document: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"schemaVersion": 2, "manifests": []}
    return document


def write_index(root: Path, *entries: object) -> None:
    """An index.json with just these entries, right or wrong."""
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def write_image(root: Path, image: SampleImage, **annotations: str) -> None:
    """Add an image to a layout, making it if need be; named as skopeo does it unless annotations say otherwise."""
    root.mkdir(exist_ok=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    for digest, data in image.blobs.items():
        write_blob(root, digest, data)
    named = annotations or {"org.opencontainers.image.ref.name": str(image.name)}
    entry = raw_descriptor(image.target, annotations=named)
    others = [raw for raw in read_index(root)["manifests"] if raw.get("annotations") != named]
    write_index(root, *others, entry)


def write_blob(root: Path, digest: Digest, data: bytes) -> None:
    path = blob_path(root, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(data)


def forget(root: Path, image: SampleImage) -> None:
    """Take an image and its name out of a layout."""
    others = [raw for raw in read_index(root)["manifests"] if raw["digest"] != str(image.target.digest)]
    write_index(root, *others)
    for digest in image.blobs:
        blob_path(root, digest).unlink()
