"""The door through which peers fetch bytes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.content.ledger import Ledger
from registryd.content.sought import REPOSITORY_HEADER, STANDING_HEADER, STRIPE_HEADER, WAIT_HEADER, Sought
from registryd.content.source import NotForName, StoreUnavailable
from registryd.identity.requester import Requester
from registryd.identity.ticket import TICKET_HEADER, Tickets
from registryd.observability.metrics import Metrics
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import PeerBytesDoor, WaitArrival
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES
from registryd.transfer.uploads import Uploads
from tests.fakes.entitled import REPOSITORY, given, sought
from tests.fakes.images import OCI_LAYER, oci_image, sample_bytes
from tests.fakes.sources import FailingSource, MemorySource, StripedSource, stripe_bytes
from tests.serving.conftest import LOOPBACK, Client, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.content.source import Content, OpenContent, RangeOf
    from tests.fakes.entitled import PlainStore

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)
PURPOSE = str(sought(LAYER))
OTHER = Repository.parse("registry.example/other/app")
NAME = {REPOSITORY_HEADER: str(REPOSITORY)}


@asynccontextmanager
async def serving(
    store: PlainStore,
    metrics: Metrics | None = None,
    uploads: Uploads | None = None,
    tickets: Tickets | None = None,
    wait_arrival: WaitArrival | None = None,
) -> AsyncIterator[Client]:
    door = PeerBytesDoor(
        store=given(store),
        ledger=Ledger(metrics or Metrics()),
        uploads=uploads,
        tickets=tickets,
        wait_arrival=wait_arrival,
    )
    async with open_door(door.handle, LOOPBACK) as opened, client_of(opened.address) as client:
        yield client


async def test_peers_get_what_the_store_has() -> None:
    metrics = Metrics()
    async with serving(MemorySource(IMAGE), metrics) as client:
        answer = await client.get(f"/v1/blobs/{LAYER}")
        part = await client.get(f"/v1/blobs/{LAYER}", Range="bytes=0-3")
    assert (answer.status, answer.body) == (200, IMAGE.blobs[LAYER])
    assert (part.status, part.body) == (206, IMAGE.blobs[LAYER][:4])
    assert part.headers["Content-Range"] == f"bytes 0-3/{len(IMAGE.blobs[LAYER])}"
    assert (
        f'registryd_peer_sent_bytes_total{{zone="unknown"}} {len(IMAGE.blobs[LAYER]) + 4:.1f}'
        in metrics.render().decode()
    )


# Larger than a row of stripes; of it, each stripe is another.
LARGE = sample_bytes(2 * ROW_BYTES + 5)
LARGE_DIGEST = Digest.of(LARGE)


def in_stripes() -> StripedSource:
    store = StripedSource()
    store.add(LARGE_DIGEST, LARGE)
    return store


async def test_peers_get_stripes() -> None:
    store = in_stripes()
    async with serving(store) as client:
        for stripe in range(STRIPES):
            part, header = stripe_bytes(LARGE, stripe), {STRIPE_HEADER: str(stripe)}
            answer = await client.get(f"/v1/blobs/{LARGE_DIGEST}", **header)
            assert (answer.status, answer.body) == (200, part)
            some = await client.get(f"/v1/blobs/{LARGE_DIGEST}", Range=f"bytes={PIECE_BYTES - 1}-", **header)
            assert (some.status, some.body) == (206, part[PIECE_BYTES - 1 :])
            assert some.headers["Content-Range"] == f"bytes {PIECE_BYTES - 1}-{len(part) - 1}/{len(part)}"
            head = await client.head(f"/v1/blobs/{LARGE_DIGEST}", **header)
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(part)))
        beyond = await client.get(
            f"/v1/blobs/{LARGE_DIGEST}", Range=f"bytes={3 * PIECE_BYTES}-", **{STRIPE_HEADER: "0"}
        )
        assert beyond.status == 416
        assert beyond.headers["Content-Range"] == f"bytes */{2 * PIECE_BYTES + 5}"
    assert store.left_open == 0


@pytest.mark.parametrize("text", ["", "8", "-1", "+1", "01", "1 2", "0,1", "None", "\u0663", "1" * 5000])
async def test_stripes_that_cannot_be_are_refused_before_the_store_is_asked(text: str) -> None:
    async with serving(Unasked(IMAGE)) as client:
        for asked in (client.get, client.head):
            answer = await asked(f"/v1/blobs/{LAYER}", **{STRIPE_HEADER: text})
            assert answer.status == 416
            assert len(answer.body) < 1000


async def test_of_a_store_without_stripes_there_is_none() -> None:
    async with serving(MemorySource(IMAGE)) as client:
        assert (await client.get(f"/v1/blobs/{LAYER}", **{STRIPE_HEADER: "0"})).status == 404


async def test_a_stripe_needs_the_ticket_of_the_content() -> None:
    tickets, path, header = Tickets(), f"/v1/blobs/{LARGE_DIGEST}", {STRIPE_HEADER: "3", **NAME}
    async with serving(in_stripes(), tickets=tickets) as client:
        assert (await client.get(path, **header)).status == 404
        ticket = tickets.issue(str(replace(sought(LARGE_DIGEST), stripe=3)), HERE)
        answer = await client.get(path, **header, **{TICKET_HEADER: ticket})
    assert (answer.status, answer.body) == (200, stripe_bytes(LARGE, 3))


class Unasked(MemorySource):
    """Has the content, and must not be asked for it."""

    async def find(self, digest: Digest) -> Content:
        raise AssertionError(f"{digest} was looked for")

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise AssertionError(f"{digest} was opened for {wanted}")


class Arrival:
    """What arrives while it is waited for: a stripe that was not there before."""

    def __init__(self, store: StripedSource | None = None, error: Exception | None = None) -> None:
        self.asked: list[tuple[Sought, int, float]] = []
        self._store = store
        self._error = error

    async def __call__(self, sought: Sought, *, beyond: int, seconds: float) -> None:
        self.asked.append((sought, beyond, seconds))
        if self._store:
            self._store.add(LARGE_DIGEST, LARGE)
        if self._error:
            raise self._error


async def test_a_peer_may_wait_for_what_arrives_and_is_told_whose_it_is() -> None:
    store, path = StripedSource(), f"/v1/blobs/{LARGE_DIGEST}"
    arrival, headers = Arrival(store), {STRIPE_HEADER: "3", WAIT_HEADER: "2500", **NAME}
    async with serving(store, wait_arrival=arrival) as client:
        answer = await client.get(path, Range="bytes=7-", **headers)
        assert (answer.status, answer.body) == (206, stripe_bytes(LARGE, 3)[7:])
        assert answer.headers[STANDING_HEADER] == "repository"
        assert (await client.get(path, **headers)).status == 200
    wanted = replace(sought(LARGE_DIGEST), stripe=3)
    assert arrival.asked == [(wanted, 7, 2.5), (wanted, 0, 2.5)]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e3", "999999", "\u0663", "1" * 5000])
async def test_a_wait_that_cannot_be_is_none(text: str) -> None:
    arrival = Arrival()
    async with serving(in_stripes(), wait_arrival=arrival) as client:
        answer = await client.get(f"/v1/blobs/{LARGE_DIGEST}", **{STRIPE_HEADER: "3", WAIT_HEADER: text})
    assert (answer.status, arrival.asked) == (200, [])


async def test_where_nothing_arrives_or_is_given_the_answer_is_no() -> None:
    path, headers = f"/v1/blobs/{LARGE_DIGEST}", {STRIPE_HEADER: "3", WAIT_HEADER: "10"}
    for error in (None, NotForName("another's"), StoreUnavailable("slow")):
        async with serving(StripedSource(), wait_arrival=Arrival(error=error)) as client:
            answer = await client.get(path, **headers)
        assert answer.status == 404
        assert STANDING_HEADER not in answer.headers


async def test_nobody_waits_without_the_right_ticket_and_nobody_takes_a_place_while_it_waits() -> None:
    path, headers = f"/v1/blobs/{LARGE_DIGEST}", {STRIPE_HEADER: "3", WAIT_HEADER: "10", **NAME}
    arrival = Arrival()
    async with serving(in_stripes(), tickets=Tickets(), wait_arrival=arrival) as client:
        assert (await client.get(path, **headers)).status == 404
    assert not arrival.asked
    uploads = Uploads(most=1)

    async def wait(*_: object, **__: object) -> None:
        assert uploads.count == 0

    async with serving(in_stripes(), uploads=uploads, wait_arrival=wait) as client:
        assert (await client.get(path, **headers)).status == 200


HERE, ELSEWHERE = Requester("127.0.0.1"), Requester("10.0.0.2")


async def test_where_tickets_are_asked_for_the_requester_of_the_digest_is_served() -> None:
    tickets = Tickets()
    async with serving(MemorySource(IMAGE), tickets=tickets) as client:
        answer = await client.get(f"/v1/blobs/{LAYER}", **NAME, **{TICKET_HEADER: tickets.issue(PURPOSE, HERE)})
    assert (answer.status, answer.body) == (200, IMAGE.blobs[LAYER])


async def test_whoever_has_no_ticket_or_not_his_own_is_refused_before_the_store_is_asked() -> None:
    now = 0.0
    tickets = Tickets(lambda: now)
    expired, now = tickets.issue(PURPOSE, HERE), 3600.0
    refused = {
        "expired": expired,
        "borrowed": tickets.issue(PURPOSE, ELSEWHERE),
        "for other content": tickets.issue(str(sought(Digest.of(b"other"))), HERE),
        "of another node": Tickets(lambda: now).issue(PURPOSE, HERE),
        "for another name": tickets.issue(str(Sought(LAYER, OTHER)), HERE),
        "made up": "A" * 32,
    }
    async with serving(Unasked(IMAGE), tickets=tickets) as client:
        without = [await client.get(f"/v1/blobs/{LAYER}"), await client.head(f"/v1/blobs/{LAYER}")]
        assert [answer.status for answer in without] == [404, 404]
        for why, ticket in refused.items():
            answer = await client.get(f"/v1/blobs/{LAYER}", **NAME, **{TICKET_HEADER: ticket})
            assert answer.status == 404, why


async def test_one_upload_too_many_is_sent_elsewhere_and_the_next_is_not() -> None:
    uploads = Uploads(most=1)
    async with serving(MemorySource(IMAGE), uploads=uploads) as client:
        with uploads.begin():
            busy = await client.get(f"/v1/blobs/{LAYER}")
            assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
            assert (await client.head(f"/v1/blobs/{LAYER}")).status == 200
        assert (await client.get(f"/v1/blobs/{LAYER}")).status == 200


async def test_a_head_tells_without_sending() -> None:
    async with serving(MemorySource(IMAGE)) as client:
        answer = await client.head(f"/v1/blobs/{LAYER}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(IMAGE.blobs[LAYER])))


@pytest.mark.parametrize("store", [MemorySource(), FailingSource()])
async def test_what_the_store_cannot_give_is_404(store: PlainStore) -> None:
    async with serving(store) as client:
        assert (await client.get(f"/v1/blobs/{Digest.of(b'absent')}")).status == 404


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/v1/blobs/", "GET", 404),
        ("/v1/blobs/sha256:12", "GET", 400),
        ("/v1/blobs/..%2f..%2fetc%2fpasswd", "GET", 404),
        (f"/v1/blobs/{LAYER}/x", "GET", 404),
        (f"/v2/demo/app/blobs/{LAYER}", "GET", 404),
        (f"/v1/blobs/{LAYER}", "PUT", 405),
    ],
)
async def test_everything_else_is_refused(path: str, method: str, status: int) -> None:
    async with serving(MemorySource(IMAGE)) as client:
        assert (await client.get(path, method=method)).status == status
