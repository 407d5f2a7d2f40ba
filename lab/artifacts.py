"""OCI artifacts that are not container images: what else a registry and a mirror must carry unchanged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.images import Image, Manifest, add_manifest
from lab.layout import Blob, Layout

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class ArtifactRecipe:
    layers: tuple[tuple[str, bytes], ...]  # media type and content of each
    artifact_type: str = ""  # empty: the manifest has none, its config's media type says what it is
    config: tuple[str, bytes] = (EMPTY, b"{}")
    subject: Blob | None = None  # what it is about: a referrer
    tag: str = "v1"


def make_artifact(folder: Path, recipe: ArtifactRecipe) -> Image:
    """Write the artifact into `folder`, a new layout."""
    layout = Layout(folder)
    config = layout.add(*recipe.config)
    layers = tuple(layout.add(*layer) for layer in recipe.layers)
    blob = add_manifest(layout, config, layers, **_members(recipe))
    layout.tag(blob, recipe.tag)
    return Image(layout, recipe.tag, blob, (Manifest(blob, config, layers),))


def _members(recipe: ArtifactRecipe) -> dict[str, object]:
    members: dict[str, object] = {"artifactType": recipe.artifact_type} if recipe.artifact_type else {}
    if recipe.subject:
        members["subject"] = recipe.subject.descriptor()
    return members


def helm_chart(name: str = "demo", version: str = "1.0.0") -> ArtifactRecipe:
    """As `helm push` makes it; the content is not a chart that helm could install."""
    config = json.dumps({"apiVersion": "v2", "name": name, "version": version}).encode()
    layer = ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", f"{name}-{version}".encode() * 64)
    return ArtifactRecipe((layer,), config=("application/vnd.cncf.helm.config.v1+json", config), tag=version)


def cosign_signature(subject: Blob) -> ArtifactRecipe:
    """As `cosign sign` attaches it: found by a tag that is made from the digest of what was signed."""
    payload = json.dumps({"critical": {"image": {"docker-manifest-digest": subject.digest}}}).encode()
    layer = ("application/vnd.dev.cosign.simplesigning.v1+json", payload)
    config = ("application/vnd.oci.image.config.v1+json", b'{"architecture": "", "os": ""}')
    return ArtifactRecipe((layer,), config=config, tag=subject.digest.replace(":", "-") + ".sig")


def in_toto_statement(subject: Blob) -> ArtifactRecipe:
    """A provenance statement as a referrer of OCI 1.1."""
    named = [{"name": "subject", "digest": {"sha256": subject.digest.partition(":")[2]}}]
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": named, "predicateType": "demo"}
    layer = ("application/vnd.in-toto+json", json.dumps(statement).encode())
    return ArtifactRecipe((layer,), artifact_type="application/vnd.in-toto+json", subject=subject, tag="provenance")
