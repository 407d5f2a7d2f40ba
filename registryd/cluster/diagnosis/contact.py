"""Whether a port of a peer can be reached, and in words for people why not."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.transfer.http.connection import FAMILY_PAUSE

if TYPE_CHECKING:
    from registryd.notation import Address

# A neighbour answers within a millisecond; a packet that is lost once is sent again after one second.
_TIMEOUT: Final = 2.0
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_OUT_OF_TIME: Final = frozenset({9, 10})


@dataclass(frozen=True, slots=True)
class ContactOutcome:
    """`problem` is empty when there is none; `is_stranger`: a program answers that is no member of this cluster."""

    problem: str = ""
    is_stranger: bool = False


async def contact(address: Address, context: ssl.SSLContext | None) -> ContactOutcome:
    """Connect, shake hands if members do so, and hang up."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, happy_eyeballs_delay=FAMILY_PAUSE
            )
    except ssl.SSLCertVerificationError as error:
        return _refused_certificate(address, error)
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        return ContactOutcome(f"{address} does not speak TLS as members do: {reason}", is_stranger=True)
    except TimeoutError:
        return ContactOutcome(f"{address} does not answer within {_TIMEOUT:g} s, as if a firewall dropped it")
    except ConnectionResetError:
        return ContactOutcome(f"{address} hangs up during the handshake", is_stranger=context is not None)
    except OSError as error:
        return ContactOutcome(f"{address}: {os.strerror(error.errno) if error.errno else error}")
    writer.close()
    with suppress(OSError, ssl.SSLError, TimeoutError):
        async with asyncio.timeout(_TIMEOUT):
            await writer.wait_closed()
    return ContactOutcome()


def _refused_certificate(address: Address, error: ssl.SSLCertVerificationError) -> ContactOutcome:
    if error.verify_code in _OUT_OF_TIME:
        return ContactOutcome(f"{address} has another time, by hours: {error.verify_message}")
    return ContactOutcome(f"{address} is no member of this cluster: {error.verify_message}", is_stranger=True)
