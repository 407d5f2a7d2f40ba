"""A way to the origin that answers one range wrong: `python -m lab.wrong_chunks ADDRESS ORIGIN MANNER FIRST`.

All else goes to the ORIGIN (a URL) as it is. The first GET at ADDRESS (host:port) for a range that begins at byte FIRST
or later is answered by MANNER: `whole` gives all of the content, `short` the first 64 KiB of what is left, as if
that had been asked for. It says `wrong` on standard output then: a fault that nobody met proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from typing import TYPE_CHECKING, Final

from aiohttp import ClientSession, DummyCookieJar, web

from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_PASSED_ON: Final = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "Accept-Ranges")
_CHUNK_BYTES: Final = 64 * 1024


class WrongChunks:
    """The handler of all requests."""

    def __init__(self, session: ClientSession, origin: str, *, manner: str, first: int) -> None:
        self._session = session
        self._origin = origin
        self._manner = manner
        self._first = first
        self._has_been_wrong = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass it on, once with another range than the one that was asked for."""
        asked = request.headers.get("Range")
        given = self._given(asked)
        headers = {"Range": given} if given else {}
        headers |= {name: value for name, value in request.headers.items() if name == "Accept"}
        async with self._session.request(request.method, self._origin + request.path_qs, headers=headers) as answer:
            response = web.StreamResponse(status=answer.status)
            for name in _PASSED_ON:
                if name in answer.headers:
                    response.headers[name] = answer.headers[name]
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                await response.write(chunk)
            await response.write_eof()
            return response

    def _given(self, asked: str | None) -> str | None:
        match = _RANGE.fullmatch(asked or "")
        if match is None or int(match[1]) < self._first or self._has_been_wrong:
            return asked
        self._has_been_wrong = True
        sys.stdout.write("wrong\n")
        sys.stdout.flush()
        if self._manner == "whole":
            return None
        return f"bytes={match[1]}-{int(match[1]) + _CHUNK_BYTES - 1}"


async def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.wrong_chunks", description=__doc__)
    parser.add_argument("address", type=Address.parse)
    parser.add_argument("origin")
    parser.add_argument("manner", choices=["whole", "short"])
    parser.add_argument("first", type=int)
    options = parser.parse_args(arguments)
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:
        wrong = WrongChunks(session, options.origin, manner=options.manner, first=options.first)
        runner = web.ServerRunner(web.Server(wrong.handle))
        await runner.setup()
        await web.TCPSite(runner, options.address.host, options.address.port).start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
