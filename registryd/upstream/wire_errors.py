"""aiohttp's errors in our own words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp

from registryd.aio.connecting import reason_of
from registryd.upstream.destinations import AddressForbidden
from registryd.upstream.errors import DestinationForbidden, NotHttp, UpstreamFailed, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yarl import URL


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise UpstreamFailed for every failure between this node and the server of this URL.

    Where aiohttp's own error would quote the URL, whose query may be signed, it does not become the cause.
    """
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise _not_connected(str(url.origin()), error) from error
    except aiohttp.ClientHttpProxyError as error:
        raise UpstreamUnreachable(f"{url.origin()}: the proxy answers {error.status}") from None
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
        raise NotHttp(f"{url.origin()}: the answer is not HTTP, or its head is too large") from None
    except TimeoutError as error:
        raise UpstreamUnreachable(f"{url.origin()}: no answer in time") from error
    except UnicodeError:  # a label of a host name is empty or too long for the system's resolver
        raise UpstreamUnreachable("the host's name is none that can be looked up") from None
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
        raise UpstreamUnreachable(f"{url.origin()}: the connection broke: {type(error).__name__}") from error


def _not_connected(where: str, error: aiohttp.ClientConnectorError) -> UpstreamFailed:
    if isinstance(error.os_error, AddressForbidden):
        return DestinationForbidden(f"{where}: {error.os_error.strerror}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UpstreamUnreachable(f"{where}: its certificate is not trusted: {error.certificate_error}")
    where = f"{where}: the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else where
    return UpstreamUnreachable(f"{where}: {reason_of(error.os_error)}")
