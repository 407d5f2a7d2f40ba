"""Bytes are counted once, under what they are; what containerd got elsewhere is what nobody gave it."""

from __future__ import annotations

from registryd.content.ledger import Ledger
from registryd.notation import Address
from registryd.observability.metrics import MOST_REGISTRIES, Metrics, Source
from registryd.oci.digest import Digest

BLOB, OTHER, TRIAL = (Digest.of(text) for text in (b"blob", b"other", b"trial"))


class Account:
    """A ledger, and what its metrics say."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.ledger = Ledger(self.metrics, is_trial=lambda digest: digest == TRIAL)

    def total(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.metrics.page.samples()
            if sample.name == f"registryd_{name}_bytes_total" and labels.items() <= sample.labels.items()
        )

    def give(self, digest: Digest, count: int, registry: str = "docker.io") -> None:
        self.ledger.handed_over(digest, count, registry=registry, source=Source.PEER)


def test_what_was_given_did_not_come_from_elsewhere() -> None:
    account = Account()
    account.give(BLOB, 60)
    account.give(BLOB, 40)
    account.ledger.appeared(BLOB, 100, registry="")
    assert account.total("sent", source="peer") == 100
    assert account.total("elsewhere") == 0
    assert account.total("pulled", source="peer", registry="docker.io") == 100


def test_the_rest_of_what_was_given_in_part_is_from_elsewhere() -> None:
    account = Account()
    account.give(BLOB, 60)
    account.ledger.appeared(BLOB, 100, registry="")
    assert account.total("elsewhere") == 40
    assert account.total("pulled", source="elsewhere", registry="docker.io") == 40


def test_what_nobody_gave_is_from_elsewhere_and_counted_once() -> None:
    account = Account()
    account.ledger.appeared(OTHER, 7, registry="ghcr.io")
    account.ledger.appeared(BLOB, 5, registry="")
    assert account.total("elsewhere") == 12
    assert account.total("pulled", source="elsewhere", registry="ghcr.io") == 7
    assert account.total("pulled", source="elsewhere", registry="unknown") == 5


def test_what_was_given_of_what_is_there_says_nothing_of_how_it_comes_again() -> None:
    account = Account()
    account.give(BLOB, 100)
    account.ledger.settle({BLOB})
    account.ledger.appeared(BLOB, 100, registry="")
    assert account.total("elsewhere") == 100


def test_trials_are_in_no_sum() -> None:
    account = Account()
    account.give(TRIAL, 100)
    account.ledger.appeared(TRIAL, 200, registry="")
    account.ledger.sent_to_peer(TRIAL, 100)
    account.ledger.received_from_peer(TRIAL, 100, Address("192.0.2.1", 1))
    for name in ("sent", "elsewhere", "pulled", "peer_sent", "peer_received"):
        assert account.total(name) == 0


def test_registries_that_are_made_up_do_not_fill_the_page() -> None:
    account = Account()
    for number in range(MOST_REGISTRIES * 3):
        account.give(BLOB, 1, f"registry-{number}.example")
    labels = {sample.labels["registry"] for sample in account.metrics.page.samples() if "pulled" in sample.name}
    assert len(labels - {"unknown", "other"}) == MOST_REGISTRIES
    assert account.total("pulled", registry="other") == MOST_REGISTRIES * 2


def test_what_is_never_stored_is_forgotten() -> None:
    account = Account()
    account.give(BLOB, 1)
    for number in range(5_000):
        account.give(Digest.of(str(number).encode()), 1)
    account.ledger.appeared(BLOB, 10, registry="")
    assert account.total("elsewhere") == 10
