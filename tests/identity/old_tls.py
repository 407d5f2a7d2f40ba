"""A process in which gRPC was told about TLS versions before it was loaded; prints which ones its server accepts."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

from registryd.identity.tls_version import refuse_old_tls


async def main(directory: Path) -> None:
    refuse_old_tls()
    from tests.identity.doors import grpc_door  # noqa: PLC0415
    from tests.identity.parties import OLD, Node  # noqa: PLC0415

    node = Node.make(directory, "server", OLD)
    context = node.credentials.client_context()
    context.set_alpn_protocols(["h2"])
    async with grpc_door(node.credentials) as door:
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, version
            print(version.name.replace("v1_", "v1."), await _accepted(context, door.port))


async def _accepted(context: ssl.SSLContext, port: int) -> str:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        greeting = await reader.read(9)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return "refused"
    return "accepted" if greeting else "refused"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
