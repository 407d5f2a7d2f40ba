"""Offers of copies travel as they are, and nonsense is refused."""

from __future__ import annotations

import math

import pytest

from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
from registryd.cluster.rpc.copy_codec import answer_message, answer_value, offer_message, offer_value
from registryd.content.keepable import KeptImage
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import parse_full_name
from registryd.pb.registryd.v1 import cluster_pb2 as pb

DIGEST = Digest.of(b"an index")


@pytest.mark.parametrize("name", ["ghcr.io/corp/app:v1", f"ghcr.io/corp/app@{DIGEST}"])
def test_an_offer_travels(name: str) -> None:
    offer = CopyOffer(KeptImage(parse_full_name(name), DIGEST), 12, 3.5)
    assert offer_value(pb.KeepRequest.FromString(offer_message(offer).SerializeToString())) == offer


@pytest.mark.parametrize("answer", CopyAnswer)
def test_an_answer_travels(answer: CopyAnswer) -> None:
    assert answer_value(answer_message(answer)) is answer


def test_what_a_newer_version_says_is_a_no() -> None:
    assert answer_value(pb.KeepReply.FromString(b"\x08\x09")) is CopyAnswer.REFUSED


@pytest.mark.parametrize(
    ("name", "digest", "size", "seen_at"),
    [
        ("app", str(DIGEST), 1, 0.0),
        ("ghcr.io/corp/app:v1", "sha256:abc", 1, 0.0),
        ("ghcr.io/corp/app:v1", str(DIGEST), 0, 0.0),
        ("ghcr.io/corp/app:v1", str(DIGEST), 2**63, 0.0),
        ("ghcr.io/corp/app:v1", str(DIGEST), 1, math.nan),
        ("ghcr.io/corp/app:v1", str(DIGEST), 1, math.inf),
    ],
)
def test_nonsense_is_refused(name: str, digest: str, size: int, seen_at: float) -> None:
    with pytest.raises(OciError):
        offer_value(pb.KeepRequest(name=name, digest=digest, size=size, seen_at=seen_at))
