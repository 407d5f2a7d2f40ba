"""Failures to connect, as asyncio reports them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from registryd.aio.connecting import reason_of


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refusal_is_told_as_the_kernel_does(host: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Connect call failed") as failure:
            await asyncio.open_connection(host, nobody.getsockname()[1])
    assert reason_of(failure.value) == "Connection refused"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENETUNREACH, "Connect call failed ('fd00::1', 1, 0, 0)"), "Network is unreachable"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('a', 1), [Errno 113] Connect call failed"),
            "Connection refused, No route to host",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify failed"),
        (OSError("said by a library"), "said by a library"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_other_failures(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason
