"""Wrong input by the million: `./dev fuzz --inputs 1000000 --seed 7`. Exits with 1 if anything is not as it should be.

Nine inputs of ten go to the parsers of what comes from outside, in this process; the others to the doors and the gRPC
methods of a real agent, to those of one whose members use mTLS (`e2e.fuzz_members`), and, as replies of an upstream, to
the client of registries (`e2e.fuzz_upstream`). Inputs are sound ones, mutilated, and follow from the seed. Wanted: each
is understood or refused by the error that is meant for it; no 5xx, no INTERNAL or UNKNOWN, no traceback in the log, no
growth of an agent by more than 8 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from yarl import URL

from e2e.fuzz_calls import mutilated_calls
from e2e.fuzz_members import try_calls, try_handshakes
from e2e.fuzz_upstream import try_replies
from e2e.mutilation import Record, mutilated
from lab.lone_agent import LoneAgent
from lab.ports import LOOPBACK, free_ports
from registryd.inventory.lists import ListInvalid, parse_list
from registryd.notation import Address, parse_duration, parse_size
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.image_layout import parse_index
from registryd.oci.manifest import parse_manifest
from registryd.oci.platform import Platform
from registryd.oci.ranges import RangeRequest
from registryd.oci.reference import TaggedName, parse_full_name, parse_reference
from registryd.oci.referrers import parse_referrers
from registryd.upstream.addresses import parse_address
from registryd.upstream.challenge import parse_challenges

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from lab.toml_text import Table

    _Attempt = Callable[[LoneAgent, Mapping[str, int], int, random.Random, Record], Coroutine[Any, Any, None]]

_DATA: Final = b"what a node has"
_DIGEST: Final = Digest.of(_DATA)
_MOST_GROWTH: Final = 8 << 20
# Of a thousand inputs. Each of these costs hundreds of times what a parser does; a handshake costs most.
_SHARES: Final = {"doors": 50, "gRPC": 30, "calls of members": 10, "handshakes": 2, "replies": 10}
_BATCH: Final = 32
_ANSWER_SECONDS: Final = 10.0
_MOST_TOLD: Final = 20
_EXPECTED: Final = (OciError, ListInvalid, ValueError)
_MANIFEST: Final = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    b'"application/vnd.oci.image.config.v1+json","digest":"%s","size":15},"layers":[{"mediaType":'
    b'"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":15}],"annotations":{"a":"b"}}'
) % (str(_DIGEST).encode(), str(_DIGEST).encode())
_INDEX: Final = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":'
    b'"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":15,"platform":{"os":"linux","architecture":'
    b'"amd64"},"annotations":{"org.opencontainers.image.ref.name":"registry.example/a:v1"}}]}'
) % str(_DIGEST).encode()


# ------------------------------------------------------------------ parsers


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


PARSERS: Final[dict[str, tuple[Callable[[bytes], Any], bytes]]] = {
    "digest": (_text(Digest.parse), str(_DIGEST).encode()),
    "tagged name": (_text(TaggedName.parse), b"registry.example:5000/demo/app:v1"),
    "full name": (_text(parse_full_name), b"docker.io/library/debian@" + str(_DIGEST).encode()),
    "reference": (_text(parse_reference), b"v1.2.3"),
    "platform": (_text(Platform.parse), b"linux/arm/v7"),
    "range": (_text(RangeRequest.parse), b"bytes=5-700"),
    "ranges": (_text(RangeRequest.parse_list), b"bytes=0-1,5-6,-9"),
    "manifest": (parse_manifest, _MANIFEST),
    "index": (parse_manifest, _INDEX),
    "index.json": (parse_index, _INDEX),
    "referrers": (parse_referrers, _INDEX),
    "challenge": (
        _text(lambda text: parse_challenges([text], base=URL("https://registry.example/v2/"))),
        b'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"',
    ),
    "address of an upstream": (_text(parse_address), b"https://registry.example:5000/some/path"),
    "address": (_text(Address.parse), b"[2001:db8::1]:3173"),
    "duration": (_text(parse_duration), b"1h30m"),
    "size": (_text(parse_size), b"1.5GiB"),
    "list of images": (_text(parse_list), b"# images\nregistry.example/a:v1\nb@" + str(_DIGEST).encode() + b"\n"),
}


def try_parsers(count: int, chance: random.Random, record: Record) -> None:
    names = list(PARSERS)
    for _ in range(count):
        name = chance.choice(names)
        parse, sound = PARSERS[name]
        given = mutilated(sound, chance)
        record.tried[name] += 1
        try:
            parse(given)
        except _EXPECTED:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            record.fault(f"{name} raised {type(error).__name__} ({error})", given)


# ------------------------------------------------------------------ doors

_REQUESTS: Final[Sequence[bytes]] = (
    b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n",
    b"GET /v2/demo/app/blobs/%s?ns=registry.example HTTP/1.1\r\nHost: mirror\r\nRange: bytes=5-\r\n"
    b"User-Agent: containerd/v2.4.2\r\n" % str(_DIGEST).encode(),
    b"HEAD /v2/demo/app/manifests/v1?ns=registry.example HTTP/1.1\r\nHost: mirror\r\nAccept: application/json\r\n",
    b"GET /v2/demo/app/referrers/%s?artifactType=a HTTP/1.1\r\nHost: mirror\r\n" % str(_DIGEST).encode(),
    b"GET /v2/demo/app/tags/list?n=5 HTTP/1.1\r\nHost: mirror\r\nOCI-Namespace: docker.io\r\n",
    b"GET /v1/blobs/%s HTTP/1.1\r\nHost: peer\r\nRange: bytes=0-5\r\n" % str(_DIGEST).encode(),
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n",
    b"POST /trial HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
)


async def try_doors(agent: LoneAgent, count: int, chance: random.Random, record: Record) -> None:
    doors = {"registry": agent.registry, "bytes": agent.content, "admin": agent.admin}
    for _ in range(0, count, _BATCH):
        async with asyncio.TaskGroup() as group:
            for _ in range(_BATCH):
                name = chance.choice(list(doors))
                given = mutilated(chance.choice(_REQUESTS), chance) + b"Connection: close\r\n\r\n"
                record.tried[f"door: {name}"] += 1
                group.create_task(_ask_door(name, doors[name], given, record))


async def _ask_door(name: str, address: Address, given: bytes, record: Record) -> None:
    line = b""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            with suppress(OSError):
                writer.write(given)
                writer.write_eof()
            with suppress(OSError, ValueError):
                line = await reader.readline()
            writer.close()
    except TimeoutError:
        record.fault(f"{name} did not answer", given)
    except OSError as error:
        record.fault(f"{name} could not be reached ({error})", given)
    if line.split(b" ")[1:2] and line.split(b" ")[1].startswith(b"5"):
        record.fault(f"{name} said {line.decode(errors='replace').strip()}", given)


# ------------------------------------------------------------------ gRPC

_CLUSTER: Final = ("Hello", "Find", "Claim", "Announce", "AnnounceNames", "Resolve", "Vouch", "Doubt")
_METHODS: Final = tuple(f"/registryd.v1.Cluster/{name}" for name in _CLUSTER)


def _messages() -> Iterator[bytes]:
    """Sound requests, more or less: fields of all wire types with texts that mean something."""
    for text in (
        str(_DIGEST).encode(),
        b"registry.example/demo/app:v1",
        b"127.0.0.1:3173",
        b"registry.example/demo/app",
    ):
        for number in range(1, 9):
            yield bytes([number << 3 | 2, len(text)]) + text + bytes([(number % 8 + 1) << 3, 5])


async def try_grpc(agent: LoneAgent, count: int, chance: random.Random, record: Record) -> None:
    async with grpc.aio.insecure_channel(str(agent.peers)) as channel:
        await mutilated_calls(
            channel,
            "gRPC",
            methods=_METHODS,
            messages=list(_messages()),
            count=count,
            at_once=_BATCH,
            seconds=_ANSWER_SECONDS,
            chance=chance,
            record=record,
        )


# ------------------------------------------------------------------ all of it


def _agent(folder: Path, *, insecure: bool) -> LoneAgent:
    """An agent whose gRPC anyone may ask, or members by mTLS only."""
    doors = free_ports(2)
    peers: Table = {"listen": f"{LOOPBACK}:{doors[0]}", "content_listen": f"{LOOPBACK}:{doors[1]}"}
    known: Table = {"insecure": True} if insecure else {"secret_file": str(folder / "secret")}
    changes: Table = {"log": {"level": "info", "format": "json"}, "peers": {**peers, **known}}
    agent = LoneAgent.prepare(folder, changes=changes)
    agent.peers, agent.content = (Address(LOOPBACK, port) for port in doors)
    return agent


async def fuzz(inputs: int, seed: str) -> Record:
    """Try so many inputs in all."""
    record = Record()
    chance = random.Random(seed)
    share = {what: inputs * part // 1000 for what, part in _SHARES.items()}
    await _try(_try_agent, share, chance, record, insecure=True)
    await _try(_try_members, share, chance, record, insecure=False)
    await try_replies(share["replies"], chance, record)
    try_parsers(inputs - sum(share.values()), chance, record)
    return record


async def _try(attempt: _Attempt, share: Mapping[str, int], chance: random.Random, record: Record, **how: bool) -> None:
    """One agent, which must neither grow nor stumble."""
    with tempfile.TemporaryDirectory() as folder:
        agent = _agent(Path(folder), **how)
        await agent.store([(_DIGEST, _DATA)])
        await agent.start()
        try:
            await attempt(agent, share, 10, chance, record)  # warms it up
            before = agent.resident_bytes()
            await attempt(agent, share, 90, chance, record)
            growth = agent.resident_bytes() - before
            print(f"the agent has grown by {growth / 2**20:.1f} MiB")
            if growth > _MOST_GROWTH:
                record.faults.append(f"the agent has grown by {growth} bytes")
            if b"Traceback" in agent.process.log.read_bytes():
                record.faults.append(f"the agent's log has a traceback: {agent.process.log_tail()}")
        finally:
            await agent.stop()


async def _try_agent(
    agent: LoneAgent, share: Mapping[str, int], percent: int, chance: random.Random, record: Record
) -> None:
    await try_doors(agent, share["doors"] * percent // 100, chance, record)
    await try_grpc(agent, share["gRPC"] * percent // 100, chance, record)


async def _try_members(
    agent: LoneAgent, share: Mapping[str, int], percent: int, chance: random.Random, record: Record
) -> None:
    calls, handshakes = (share[what] * percent // 100 for what in ("calls of members", "handshakes"))
    await try_calls(agent, methods=_METHODS, messages=list(_messages()), count=calls, chance=chance, record=record)
    await try_handshakes(agent, _REQUESTS, handshakes, chance, record)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    begun = time.monotonic()
    record = asyncio.run(fuzz(options.inputs, options.seed))
    for what, count in sorted(record.tried.items()):
        print(f"{count:8} {what}")
    print(f"{record.tried.total()} inputs in {time.monotonic() - begun:.0f} s, {len(record.faults)} faults")
    print(*record.faults[:_MOST_TOLD], sep="\n")
    return 1 if record.faults else 0


if __name__ == "__main__":
    sys.exit(main())
