"""Name resolution in threads of its own."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

# A dead name server holds a thread for up to half a minute (resolv.conf: 5 s, two attempts, three servers), and it is
# dead just when nodes depend on each other: the loop's own threads, which read files, must not be the ones that wait.
_THREADS: Final = 4


class ThreadResolver(AbstractResolver):
    """The system's resolver, /etc/hosts and nsswitch included."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of the name, in the system's order. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, proto, address in found
        ]

    async def close(self) -> None:
        """Forget what was not begun; threads that wait for a name server end with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int, family: int) -> list[tuple[int, int, str]]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    # The scope of a link-local IPv6 address is lost here; those are not places where registries are.
    return [(found_family, proto, str(address[0])) for found_family, _, proto, _, address in infos]
