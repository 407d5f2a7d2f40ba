"""A relay that makes a server seem far away: what a client sends arrives later; what comes back does not wait again.

Connections are made at once, which favours clients that make one for each request.
"""

from __future__ import annotations

import argparse
import asyncio

_CHUNK = 256 * 1024


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, seconds: float) -> None:
    try:
        while data := await reader.read(_CHUNK):
            if seconds:
                await asyncio.sleep(seconds)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(port: int, upstream: int, seconds: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", upstream, limit=_CHUNK)
        await asyncio.gather(pass_on(reader, back, seconds=seconds), pass_on(there, writer, seconds=0.0))

    server = await asyncio.start_server(relay, "127.0.0.1", port, limit=_CHUNK)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--milliseconds", type=float, default=20.0)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.upstream, options.milliseconds / 1000))
