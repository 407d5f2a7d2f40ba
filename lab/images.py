"""Container images made from nothing, the same for the same seed."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.layers import Layer, LayerRecipe, write_layer
from lab.layout import INDEX, MANIFEST, Blob, Layout

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "application/vnd.oci.image.config.v1+json"
_CREATED = "2024-01-01T00:00:00Z"
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}

MIB = 1 << 20
THREE_LAYERS = (LayerRecipe(2 * MIB), LayerRecipe(MIB, compressible=True), LayerRecipe(MIB, gzipped=False))


def local_architecture() -> str:
    """What OCI calls this machine's architecture."""
    return _GO_NAMES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Manifest:
    blob: Blob
    config: Blob
    layers: tuple[Blob, ...]
    architecture: str = ""  # empty: an artifact, which has none


@dataclass(frozen=True)
class Image:
    """An image or another OCI artifact in a layout of its own."""

    layout: Layout
    tag: str
    root: Blob  # what the tag stands for: an index, or the only manifest
    manifests: tuple[Manifest, ...]

    @property
    def local(self) -> Manifest:
        """What this machine's containerd pulls."""
        return self.manifest_for(local_architecture())

    @property
    def digests(self) -> tuple[str, ...]:
        """All content that a pull brings to this machine."""
        local = self.local
        return tuple(blob.digest for blob in (self.root, local.blob, local.config, *local.layers))

    def manifest_for(self, architecture: str) -> Manifest:
        return next(manifest for manifest in self.manifests if manifest.architecture == architecture)

    @property
    def documents(self) -> tuple[Blob, ...]:
        """Manifests and, last, the index: what a registry keeps as manifests, children first."""
        manifests = tuple(manifest.blob for manifest in self.manifests)
        return manifests if self.root in manifests else (*manifests, self.root)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Configs and layers, each once: what a registry keeps as blobs."""
        every = [blob for manifest in self.manifests for blob in (manifest.config, *manifest.layers)]
        return tuple(dict.fromkeys(every))

    def archive(self) -> Path:
        """The image as an OCI archive beside its layout, for `ctr images import` and skopeo."""
        return self.layout.archive(self.layout.folder.with_suffix(".tar"))


@dataclass(frozen=True)
class ImageRecipe:
    layers: tuple[LayerRecipe, ...] = THREE_LAYERS
    architectures: tuple[str, ...] = ("amd64", "arm64")  # one: a single manifest, without an index
    tag: str = "v1"
    seed: str = "registryd"
    command: tuple[str, ...] = ()


def make_image(folder: Path, recipe: ImageRecipe = ImageRecipe()) -> Image:
    """Write the image into `folder`, a new layout. Every architecture has layers of its own."""
    layout = Layout(folder)
    manifests = tuple(_add_manifest(layout, recipe, architecture) for architecture in recipe.architectures)
    root = manifests[0].blob if len(manifests) == 1 else add_index(layout, manifests)
    layout.tag(root, recipe.tag)
    return Image(layout, recipe.tag, root, manifests)


def _add_manifest(layout: Layout, recipe: ImageRecipe, architecture: str) -> Manifest:
    layers = [
        write_layer(layer, layout, seed=f"{recipe.seed}-{architecture}-{number}")
        for number, layer in enumerate(recipe.layers)
    ]
    config = layout.add_document(CONFIG, _config(recipe, architecture, layers))
    blobs = tuple(layer.blob for layer in layers)
    return Manifest(add_manifest(layout, config, blobs), config, blobs, architecture)


def add_manifest(layout: Layout, config: Blob, layers: tuple[Blob, ...], **more: object) -> Blob:
    """Write a manifest; `more` are further top-level members of the document."""
    named = {"config": config.descriptor(), "layers": [layer.descriptor() for layer in layers]}
    return layout.add_document(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, **more, **named})


def add_index(layout: Layout, manifests: tuple[Manifest, ...]) -> Blob:
    """Write an index of manifests for several architectures."""
    entries = [
        manifest.blob.descriptor(platform={"architecture": manifest.architecture, "os": "linux"})
        for manifest in manifests
    ]
    return layout.add_document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def _config(recipe: ImageRecipe, architecture: str, layers: list[Layer]) -> dict[str, object]:
    return {
        "created": _CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(recipe.command)},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": _CREATED, "created_by": "registryd lab"} for _ in layers],
    }
