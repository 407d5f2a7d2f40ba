"""The bodies of registryd.transfer behind a bare aiohttp server: what they cost without an agent around them.

/local/NAME sends a file of the folder, /relay/NAME and /relay-tls/NAME the source's file of that name.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from benchmarks.certificates import Certificates
from registryd.oci.ranges import Span
from registryd.transfer.file import FileBody
from registryd.transfer.http.fetch import fetch
from registryd.transfer.sink import open_sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from ssl import SSLContext

    from registryd.transfer.body import Body

    OpenBody = Callable[[str, int], Awaitable[Body]]


async def open_file(folder: Path, name: str, size: int) -> Body:
    return FileBody(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC), Span.whole(size))


async def open_source(port: int, ssl: SSLContext | None, name: str, size: int) -> Body:
    span = Span.whole(size)
    address = ("127.0.0.1", port)
    return await fetch(address, f"/{name}", span=span, size=size, ssl=ssl, connect_timeout=3.0, first_byte_timeout=3.0)


async def answer(folder: Path, open_body: OpenBody, request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    size = (folder / name).stat().st_size
    response = web.StreamResponse(headers={"Content-Length": str(size)})
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    body = await open_body(name, size)
    try:
        await response.prepare(request)
        async with open_sink(request.transport, response.write) as sink:
            await body.send_to(sink)
    finally:
        await body.aclose()
    await response.write_eof()
    return response


def make_app(folder: Path, certificates: Certificates, *, plain: int, tls: int) -> web.Application:
    ways = {
        "local": partial(open_file, folder),
        "relay": partial(open_source, plain, None),
        "relay-tls": partial(open_source, tls, certificates.client_context()),
    }
    app = web.Application()
    app.add_routes(web.get(f"/{way}/{{name}}", partial(answer, folder, open_body)) for way, open_body in ways.items())
    return app


async def serve(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    for number in ("--port", "--plain", "--tls"):
        parser.add_argument(number, type=int, required=True)
    options = parser.parse_args()
    certificates = Certificates(*(options.folder / name for name in ("ca.pem", "node.pem", "node.key")))
    asyncio.run(serve(make_app(options.folder, certificates, plain=options.plain, tls=options.tls), options.port))


if __name__ == "__main__":
    main()
