"""A request that ends before its body did is told as one that containerd gave up."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from registryd.content.lookup import Origin
from registryd.content.pull_log import PullLog
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository
from registryd.serving.paths import BlobPath
from registryd.serving.record import RequestRecord
from registryd.transfer.errors import SinkClosed, SourceBroken
from tests.content.test_ledger import Account

LAYER = Digest.of(b"layer")


@pytest.mark.parametrize(
    ("end", "slowed"),
    [
        ("delivered", []),
        ("cancelled", ["containerd gave up 1 of 1"]),
        ("closed", ["containerd gave up 1 of 1"]),
        ("broken", ["1 body broke off", "did not end while it was looked at"]),
    ],
)
async def test_a_body_that_does_not_end_is_no_pull_that_went_well(end: str, slowed: list[str]) -> None:
    now = [1000.0]
    account = Account()
    account.ledger.pulls = pulls = PullLog(clock=lambda: now[0])
    path = BlobPath(Repository(Registry("ghcr.io"), "corp/app"), LAYER)
    record = RequestRecord(account.metrics, account.ledger, make_mocked_request("GET", "/"), path)
    record.located(Origin.PEER)
    record.opened(LAYER)
    record.sent(30)
    if end == "delivered":
        record.delivered()
    elif end != "cancelled":
        record.interrupted(SinkClosed("gone") if end == "closed" else SourceBroken("gone"))
    record.close()
    now[0] += 1000
    pulls.settle()
    (pull,) = pulls.recent()
    assert pull["slowed"] == slowed
