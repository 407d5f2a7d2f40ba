"""Which manifests of an index are for a machine."""

from __future__ import annotations

import json

import pytest

from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.platform import Platform, choose_manifests

AMD, ARM64, ARM7 = (Platform.parse(name) for name in ("linux/amd64", "linux/arm64", "linux/arm/v7"))


def entry(name: str, platform: object = None, *, media_type: str = OCI_MANIFEST) -> dict[str, object]:
    raw = {"mediaType": media_type, "digest": str(Digest.of(name.encode())), "size": 1}
    return raw if platform is None else {**raw, "platform": platform}


def chosen(entries: list[dict[str, object]], *platforms: Platform) -> tuple[set[str], set[Platform]]:
    found = choose_manifests(json.dumps({"manifests": entries}).encode(), platforms)
    names = {str(Digest.of(name.encode())): name for name in ("amd", "arm64", "arm7", "any", "index", "attestation")}
    return {names[str(each.digest)] for each in found.manifests}, set(found.unmet)


ENTRIES = [
    entry("amd", {"os": "linux", "architecture": "amd64"}),
    entry("arm64", {"os": "linux", "architecture": "arm64", "variant": "v8"}),
    entry("arm7", {"os": "linux", "architecture": "arm", "variant": "v7"}),
    entry("attestation", {"os": "unknown", "architecture": "unknown"}),
]


def test_what_is_wanted_is_chosen() -> None:
    assert chosen(ENTRIES, AMD, ARM7) == ({"amd", "arm7"}, set())
    assert chosen(ENTRIES) == ({"amd", "arm64", "arm7", "attestation"}, set())
    assert chosen(ENTRIES, Platform("windows", "amd64"), AMD) == ({"amd"}, {Platform("windows", "amd64")})


@pytest.mark.parametrize("wanted", ["linux/arm64", "linux/arm64/v8"])
def test_a_usual_variant_goes_without_saying(wanted: str) -> None:
    assert chosen(ENTRIES, Platform.parse(wanted)) == ({"arm64"}, set())
    without = [entry("arm64", {"os": "linux", "architecture": "arm64"})]
    assert chosen(without, Platform.parse(wanted)) == ({"arm64"}, set())
    assert chosen([entry("arm7", {"os": "linux", "architecture": "arm"})], ARM7) == ({"arm7"}, set())


def test_what_does_not_say_what_it_is_for_may_be_for_anything() -> None:
    assert chosen([entry("any")], AMD, ARM64) == ({"any"}, set())
    assert chosen([entry("any", "linux")], AMD) == ({"any"}, set())


def test_an_index_within_is_looked_into() -> None:
    assert chosen([entry("index", media_type=OCI_INDEX)], AMD) == ({"index"}, {AMD})


def test_what_is_no_manifest_is_left_out() -> None:
    assert chosen([entry("any", media_type="application/octet-stream")], AMD) == (set(), {AMD})


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/more", "linux//v7"])
def test_what_is_no_platform_is_one_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not a platform"):
        Platform.parse(text)
