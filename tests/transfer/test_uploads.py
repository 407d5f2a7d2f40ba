"""One upload too many is refused, and the rate is shared among those that run."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import pytest

from registryd.transfer.striping import STRIPES
from registryd.transfer.uploads import Part, UploadRefused, Uploads

MIB = 1 << 20
UNLIMITED = 2**32 - 1


@dataclass
class FakeSocket:
    """Remembers the pace that it was given, and how much the kernel takes ahead of it."""

    paces: list[int] = field(default_factory=list)
    ahead: int = 0

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        number = int.from_bytes(value, sys.byteorder)
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT):
            self.ahead = number
            return
        assert (level, option) == (socket.SOL_SOCKET, 47)
        self.paces.append(number)


def test_as_many_as_may_be_run_and_the_next_is_refused() -> None:
    uploads = Uploads(most=2)
    seen = []
    with uploads.begin():
        seen.append(uploads.is_busy())
        with uploads.begin():
            seen.append(uploads.is_busy())
            with pytest.raises(UploadRefused, match="2 uploads"), uploads.begin():
                pass
        seen.append(uploads.is_busy())
    assert seen == [False, True, False]


def test_a_stripe_takes_an_eighth_of_a_place() -> None:
    uploads = Uploads(most=2)
    with ExitStack() as stack:
        stack.enter_context(uploads.begin())
        for _ in range(STRIPES):
            assert not uploads.is_busy(is_stripe=True)
            stack.enter_context(uploads.begin(is_stripe=True))
        assert uploads.count == 1 + STRIPES
        assert uploads.is_busy(is_stripe=True)
        with pytest.raises(UploadRefused), uploads.begin(is_stripe=True):
            pass


def test_parts_that_other_nodes_could_give_do_not_count() -> None:
    """A node that sends nothing else has room for one that gets all of it from there."""
    uploads = Uploads()
    with uploads.begin(part=Part.EXTRA), uploads.begin(part=Part.EXTRA):
        assert uploads.count == 0
        with uploads.begin(part=Part.NEXT), uploads.begin(part=Part.FIRST):
            assert uploads.count == 2


def test_a_receiver_may_have_eight_times_as_many_stripes_as_wholes() -> None:
    uploads = Uploads(most=32)
    with ExitStack() as stack:
        for _ in range(8 * STRIPES):
            stack.enter_context(uploads.begin(receiver="10.0.0.1", is_stripe=True))
        with pytest.raises(UploadRefused, match="64 uploads to"):
            stack.enter_context(uploads.begin(receiver="10.0.0.1", is_stripe=True))
        stack.enter_context(uploads.begin(receiver="10.0.0.2", is_stripe=True))


def test_a_stripe_gets_an_eighth_of_the_share_of_a_whole() -> None:
    """So a node with a low limit gives a stripe to eight others, as it gives a whole layer to one."""
    uploads = Uploads(bytes_per_second=2 * MIB)
    with ExitStack() as stack:
        whole = stack.enter_context(uploads.begin())
        stripes = []
        while not uploads.is_busy(is_stripe=True):
            stripes.append(stack.enter_context(uploads.begin(is_stripe=True)))
        assert len(stripes) == STRIPES
        assert [uploads.rate_of(upload) for upload in (whole, *stripes)] == [MIB] + [MIB // STRIPES] * STRIPES
        assert uploads.is_busy()


def test_one_that_fails_makes_room() -> None:
    uploads = Uploads(most=1)
    with pytest.raises(OSError, match="broken"), uploads.begin():
        raise OSError("broken")
    assert not uploads.is_busy()


def test_the_rate_is_shared_equally_and_kept_for_what_the_kernel_still_has() -> None:
    uploads = Uploads(bytes_per_second=8 * MIB)
    first, second = FakeSocket(), FakeSocket()
    with uploads.begin(first):
        with uploads.begin(second):
            assert first.paces == [8 * MIB, 4 * MIB]
            assert second.paces == [4 * MIB]
        assert first.paces[-1] == 8 * MIB
    assert (first.paces[-1], second.paces[-1]) == (8 * MIB, 4 * MIB)
    assert first.ahead == second.ahead == MIB // 8
    uploads.set_rate(0)
    with uploads.begin(second):
        assert (second.paces[-1], second.ahead) == (UNLIMITED, 0)


def test_nobody_gets_so_little_that_it_would_be_taken_for_slow() -> None:
    uploads = Uploads(bytes_per_second=3 * MIB)
    with ExitStack() as stack:
        running = [stack.enter_context(uploads.begin()) for _ in range(3)]
        assert uploads.is_busy()
        assert [uploads.rate_of(upload) for upload in running] == [MIB] * 3


def test_with_a_rate_that_is_too_low_for_anybody_one_runs() -> None:
    uploads = Uploads(bytes_per_second=1000)
    assert not uploads.is_busy()
    with uploads.begin() as upload:
        assert (uploads.is_busy(), uploads.rate_of(upload)) == (True, 1000)


def test_without_a_rate_sockets_are_left_alone() -> None:
    uploads, sock = Uploads(most=5), FakeSocket()
    with uploads.begin(sock) as upload:
        assert sock.paces == []
        assert uploads.rate_of(upload) == 0


def test_the_kernel_takes_the_pace() -> None:
    with closing(socket.socket()) as sock, Uploads(bytes_per_second=5 * MIB).begin(sock):
        assert sock.getsockopt(socket.SOL_SOCKET, 47) == 5 * MIB


async def test_a_limited_body_is_not_over_when_the_kernel_could_buffer_it() -> None:
    """Its upload would end at once, and others would get the rate once more."""
    loop, size = asyncio.get_running_loop(), 3 * MIB
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        with socket.create_connection(server.getsockname()) as sender:
            sender.settimeout(0)
            receiver, _ = await loop.sock_accept(server)
            with closing(receiver), Uploads(bytes_per_second=2 * MIB).begin(sender):
                sent = loop.create_task(loop.sock_sendall(sender, bytes(size)), name="a body")
                received = 0
                while not sent.done():
                    received += len(await loop.sock_recv(receiver, MIB))
                assert received > size // 2


def test_a_closed_connection_is_no_matter() -> None:
    sock = socket.socket()
    with Uploads(bytes_per_second=5 * MIB).begin(sock):
        sock.close()


@pytest.mark.looptime
async def test_who_has_no_socket_sleeps() -> None:
    uploads = Uploads(bytes_per_second=4 * MIB)
    with uploads.begin() as upload:
        await upload.pace(8 * MIB)
    assert asyncio.get_running_loop().time() == 2
    with Uploads().begin() as upload:
        await upload.pace(8 * MIB)
    assert asyncio.get_running_loop().time() == 2


def test_parts_that_others_could_give_leave_half_of_the_places() -> None:
    uploads = Uploads(most=4)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(uploads.begin(part=Part.EXTRA))
        with pytest.raises(UploadRefused):
            stack.enter_context(uploads.begin(part=Part.EXTRA))
        for _ in range(2):
            stack.enter_context(uploads.begin())
        with pytest.raises(UploadRefused):
            stack.enter_context(uploads.begin())


def test_who_goes_on_is_not_refused_for_one_that_begins() -> None:
    uploads = Uploads(most=4)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(uploads.begin())
        assert uploads.is_busy()
        stack.enter_context(uploads.begin(part=Part.NEXT))
        with pytest.raises(UploadRefused):
            stack.enter_context(uploads.begin(part=Part.NEXT))


def test_parts_share_a_rate() -> None:
    uploads = Uploads(bytes_per_second=4 * MIB)
    with uploads.begin(part=Part.EXTRA), uploads.begin(part=Part.EXTRA):
        with pytest.raises(UploadRefused), uploads.begin(part=Part.EXTRA):
            pass
        with uploads.begin(), uploads.begin(), uploads.begin(part=Part.NEXT):
            assert uploads.is_busy()


@pytest.mark.parametrize(
    ("text", "part"), [("next", Part.NEXT), ("extra", Part.EXTRA), ("", Part.FIRST), ("x", Part.FIRST)]
)
def test_what_a_receiver_says_of_a_part(text: str, part: Part) -> None:
    assert Part.named(text) is part


def test_one_receiver_has_a_quarter_of_the_places() -> None:
    uploads = Uploads(most=64)
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(uploads.begin(receiver="10.0.0.1"))
        with pytest.raises(UploadRefused, match=r"16 uploads to 10\.0\.0\.1"), uploads.begin(receiver="10.0.0.1"):
            pass
        with uploads.begin(receiver="10.0.0.2"):
            assert not uploads.is_busy()
        for _ in range(8):
            stack.enter_context(uploads.begin(part=Part.NEXT, receiver="10.0.0.1"))
        with pytest.raises(UploadRefused):
            stack.enter_context(uploads.begin(part=Part.NEXT, receiver="10.0.0.1"))
