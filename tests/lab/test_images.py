from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import cosign_signature, helm_chart, in_toto_statement, make_artifact
from lab.images import ImageRecipe, make_image
from lab.layers import TAR, TAR_GZIP, LayerFile, LayerRecipe, write_layer
from lab.layout import INDEX, Layout

if TYPE_CHECKING:
    from pathlib import Path

SMALL = (LayerRecipe(1000), LayerRecipe(2000, compressible=True), LayerRecipe(500, gzipped=False))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_the_same_seed_makes_the_same_image(tmp_path: Path) -> None:
    recipe = ImageRecipe(SMALL)
    one, two = make_image(tmp_path / "1", recipe), make_image(tmp_path / "2", recipe)
    other = make_image(tmp_path / "3", ImageRecipe(SMALL, seed="other"))
    assert one.root == two.root
    assert not {blob.digest for blob in one.blobs} & {blob.digest for blob in other.blobs}
    assert one.archive().read_bytes() == two.archive().read_bytes()


def test_everything_is_where_its_digest_says(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i", ImageRecipe(SMALL))
    for blob in (*image.blobs, *image.documents):
        content = image.layout.read(blob.digest)
        assert (sha256(content), len(content)) == (blob.digest, blob.size)
    assert len(image.blobs) == 2 * (1 + len(SMALL))
    assert {path.name for path in (tmp_path / "i" / "blobs" / "sha256").iterdir()} == {
        blob.digest.removeprefix("sha256:") for blob in (*image.blobs, *image.documents)
    }


def test_the_layers_match_the_diff_ids(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i", ImageRecipe(SMALL, ("amd64",)))
    (manifest,) = image.manifests
    config = image.layout.read_document(manifest.config.digest)
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    for blob, diff_id in zip(manifest.layers, config["rootfs"]["diff_ids"], strict=True):
        content = image.layout.read(blob.digest)
        assert sha256(gzip.decompress(content) if blob.media_type == TAR_GZIP else content) == diff_id


def test_an_index_lists_its_manifests_by_platform(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i", ImageRecipe(SMALL))
    entries = image.layout.read_document(image.root.digest)["manifests"]
    assert image.root.media_type == INDEX
    assert {entry["platform"]["architecture"]: entry["digest"] for entry in entries} == {
        architecture: image.manifest_for(architecture).blob.digest for architecture in ("amd64", "arm64")
    }


def test_one_architecture_needs_no_index(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i", ImageRecipe(SMALL, ("arm64",), tag="v2"))
    assert image.documents == (image.root,)
    (entry,) = json.loads((tmp_path / "i" / "index.json").read_text())["manifests"]
    assert entry["digest"] == image.root.digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "v2"}


@pytest.mark.parametrize(("gzipped", "media_type"), [(True, TAR_GZIP), (False, TAR)])
def test_a_layer_has_its_files(tmp_path: Path, gzipped: bool, media_type: str) -> None:
    layout = Layout(tmp_path)
    program = LayerFile("bin/hello", b"#!/bin/sh\n")
    layer = write_layer(LayerRecipe(3_000_000, gzipped=gzipped, files=(program,)), layout, seed="x")
    assert layer.blob.media_type == media_type
    with tarfile.open(fileobj=io.BytesIO(layout.read(layer.blob.digest))) as tar:
        assert [(entry.name, entry.size, entry.mode) for entry in tar] == [
            ("data/x", 3_000_000, 0o644),
            ("bin/hello", 10, 0o755),
        ]


def test_noise_stays_as_large_and_text_shrinks(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    noise = write_layer(LayerRecipe(1_000_000), layout, seed="x")
    text = write_layer(LayerRecipe(1_000_000, compressible=True), layout, seed="x")
    assert 1_000_000 < noise.blob.size < 1_020_000
    assert text.blob.size < 100_000


def test_artifacts_carry_what_they_are(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i", ImageRecipe(SMALL))
    chart = make_artifact(tmp_path / "c", helm_chart())
    signature = make_artifact(tmp_path / "s", cosign_signature(image.root))
    statement = make_artifact(tmp_path / "t", in_toto_statement(image.root))
    assert chart.manifests[0].config.media_type == "application/vnd.cncf.helm.config.v1+json"
    assert signature.tag == image.root.digest.replace(":", "-") + ".sig"
    document = statement.layout.read_document(statement.root.digest)
    assert document["artifactType"] == "application/vnd.in-toto+json"
    assert document["subject"] == image.root.descriptor()
