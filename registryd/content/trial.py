"""A tiny image made from a word, for a trial pull: only a node that knows the word has the image."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.oci.descriptor import OCI_MANIFEST
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Under a name that can never be a registry's (RFC 6761), so that no trial is ever taken for anything else.
TRIAL_REGISTRY: Final = "registryd.invalid"
TRIAL_PATH: Final = "registryd/trial"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
# Just more than goes by gRPC (cluster.fetch.opening.SMALL_BYTES), so that the trial takes the way of real layers.
_PAYLOAD_BYTES: Final = 1024 * 1024 + 4096
_LASTS_SECONDS: Final = 60.0
# 4 MiB of memory at most, whatever the number of callers.
_MOST_OFFERED: Final = 4
_WORD: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_ARCHITECTURE: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrialWords:
    """The words from which a trial image follows; raises ValueError."""

    word: str
    architecture: str

    def __post_init__(self) -> None:
        if not (_WORD.fullmatch(self.word) and _ARCHITECTURE.fullmatch(self.architecture)):
            raise ValueError("not the words of a trial image")


@dataclass(frozen=True, slots=True)
class TrialImage:
    """A trial image's content by digest, with media types: a manifest, a config and a layer."""

    manifest: Digest
    layer: Digest
    content: Mapping[Digest, tuple[str, bytes]]

    @classmethod
    def of(cls, words: TrialWords) -> TrialImage:
        layer = _layer(words.word)
        config = json.dumps(
            {
                "architecture": words.architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
            }
        ).encode()
        named = {"config": _descriptor(_CONFIG, config), "layers": [_descriptor(_LAYER, layer)]}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **named}).encode()
        content = {Digest.of(data): (kind, data) for kind, data in ((_CONFIG, config), (_LAYER, layer))}
        content[Digest.of(manifest)] = (OCI_MANIFEST, manifest)
        return cls(Digest.of(manifest), Digest.of(layer), content)


class TooManyTrials(Exception):
    """The node offers as many trial images as it may already."""


class Trials:
    """The images that are offered now, each for a minute."""

    def __init__(self) -> None:
        self._offered: list[tuple[float, TrialImage]] = []

    def offer(self, words: TrialWords) -> TrialImage:
        """Raises TooManyTrials."""
        image = TrialImage.of(words)
        if image.manifest not in {known.manifest for known in self._current()}:
            if len(self._offered) >= _MOST_OFFERED:
                raise TooManyTrials(f"{_MOST_OFFERED} trials are going on")
            self._offered.append((clock.now() + _LASTS_SECONDS, image))
        return image

    def get(self, digest: Digest) -> tuple[str, bytes] | None:
        """Media type and bytes of content of an image that is offered."""
        if not self._offered:
            return None
        return next((image.content[digest] for image in self._current() if digest in image.content), None)

    def _current(self) -> list[TrialImage]:
        now = clock.now()
        self._offered = [(until, image) for until, image in self._offered if until > now]
        return [image for _, image in self._offered]


def _layer(word: str) -> bytes:
    """A tar of one file that no node has had before, and that no transport can compress."""
    # Here and not above: few agents are ever asked for a trial.
    import tarfile  # noqa: PLC0415

    payload = hashlib.shake_128(word.encode()).digest(_PAYLOAD_BYTES)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("trial")
        member.size = len(payload)
        tar.addfile(member, io.BytesIO(payload))
    return buffer.getvalue()


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
