from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from registryd.identity.authority import Authority
from registryd.identity.errors import CertificateInvalid, SecretInvalid
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial, mint_apart
from registryd.identity.minting import mint_from
from registryd.identity.rehearsal import shake_hands
from registryd.identity.secret import Secret
from registryd.identity.tls import client_context, handshake_context
from tests.identity.parties import NEW, OLD, Clock, Node, minted, write_secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(tmp_path: Path, clock: Clock) -> MintedMaterial:
    return MintedMaterial(write_secrets(tmp_path / "secret", OLD), node="a", clock=clock, mint=mint_from)


# The authority


def test_every_holder_derives_the_same_authority() -> None:
    first, second = (Authority(Secret(OLD)).certificate for _ in range(2))
    assert first.subject == second.subject
    assert first.public_key() == second.public_key()
    assert first.extensions.get_extension_for_class(x509.SubjectKeyIdentifier) == (
        second.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    )


def test_the_derivation_never_changes() -> None:
    # Agents of different versions have to meet: this value may change only together with the label's version.
    assert Authority(Secret("x" * 40)).certificate.subject.rfc4514_string() == "CN=registryd cluster 0745bcd3b337c67a"


def test_another_secret_is_another_authority() -> None:
    first, second = (Authority(Secret(secret)).certificate for secret in (OLD, NEW))
    assert first.public_key() != second.public_key()
    assert first.subject != second.subject


def test_long_and_foreign_node_names_do_no_harm(tmp_path: Path, clock: Clock) -> None:
    file = write_secrets(tmp_path / "secret", OLD)
    for name in ("n" * 253, "ö" * 64, ""):
        MemberCredentials(MintedMaterial(file, node=name, clock=clock, mint=mint_from))


# Minting in time


def test_the_certificate_is_kept_while_it_is_young(source: MintedMaterial, clock: Clock) -> None:
    before = source.load()
    clock.advance(hours=15.9)
    assert source.load() is before


@pytest.mark.parametrize("hours", [16, 30, -9])
def test_it_is_renewed_with_a_third_left_or_when_the_clock_was_wrong(
    source: MintedMaterial, clock: Clock, hours: float
) -> None:
    before = source.load()
    clock.advance(hours=hours)
    assert source.load() != before


def test_it_lasts_a_day_and_tolerates_clocks_that_are_eight_hours_behind() -> None:
    leaf = x509.load_pem_x509_certificate(minted(OLD).chain)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 32 * 3600


def test_a_new_secret_is_used_at_once(source: MintedMaterial) -> None:
    before = source.load()
    write_secrets(source.private_path, NEW, OLD)
    after = source.load()
    assert after.roots.count(b"BEGIN CERTIFICATE") == 2
    assert after.chain != before.chain


# In a process of its own


def test_minted_apart_it_is_a_member_like_any_other(tmp_path: Path) -> None:
    source = MintedMaterial(write_secrets(tmp_path / "secret", OLD), node="ö", clock=Clock(), mint=mint_apart)
    material = source.load()
    shake_hands(client_context(minted(OLD)), handshake_context(material))
    shake_hands(client_context(material), handshake_context(minted(OLD)))


def test_what_cannot_be_minted_says_so_and_nothing_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CertificateInvalid, match=r"secret: no certificate could be minted"):
        mint_apart(write_secrets(tmp_path / "secret", "hunter2"), node="a", now=Clock()())
    assert "hunter2" not in "".join(capfd.readouterr())


# Credentials


def test_renewal_is_a_new_generation(tmp_path: Path) -> None:
    node = Node.make(tmp_path, "a", OLD)
    node.credentials.refresh()
    assert node.credentials.generation == 1
    node.clock.advance(hours=-17)
    node.rotate(OLD)
    expires_at = node.credentials.expires_at
    node.clock.advance(hours=17)
    node.credentials.refresh()
    assert node.credentials.generation == 3
    assert (node.credentials.expires_at - expires_at).total_seconds() == pytest.approx(17 * 3600, abs=2)


def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    node = Node.make(tmp_path, "a", OLD)
    context = node.credentials.client_context()
    node.file.write_text("too short")
    with pytest.raises(SecretInvalid, match=r"a\.secret, line 1"):
        node.credentials.refresh()
    assert node.credentials.client_context() is context


# Nothing secret is shown


def test_nothing_secret_in_representations(tmp_path: Path) -> None:
    node, material = Node.make(tmp_path, "a", OLD), minted(OLD)
    assert repr(Secret(OLD)) == "Secret()"
    shown = f"{material!r} {node.credentials!r} {vars(node.credentials)!r} {vars(node.credentials._source)!r}"
    assert OLD not in shown
    assert "PRIVATE" not in shown


def test_nothing_secret_in_tracebacks(tmp_path: Path) -> None:
    bad = "hunter2" * 5
    with pytest.raises(SecretInvalid) as caught:
        MintedMaterial(write_secrets(tmp_path / "secret", OLD, bad), node="a", clock=Clock()).load()
    shown = "".join(traceback.format_exception(caught.value))
    assert bad not in shown
    assert OLD not in shown
