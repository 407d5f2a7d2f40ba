"""How far behind its writer a reader of a growing file is, and what following it costs.

    python -m benchmarks.growing [--mebibytes 256] [--followers 1 4]

Another process writes 1 MiB at a time, as containerd does, at several rates, and receives what this one sends it: the
growing file, over as many TCP connections as there are followers. The delay is from the end of a write to the arrival
of its last byte, in milliseconds; the processor time is that of the sender, in seconds for each GiB sent. The last line
is the same file when it is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.aio.file_events import FileEvents
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.file import FileBody
from registryd.transfer.growing import GrowingBody, watching_arrival
from registryd.transfer.inflow import Inflows
from registryd.transfer.sink import ConnectionSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from registryd.transfer.body import Body

STEP = 1024 * 1024
MEGABYTES_A_SECOND = (10, 100, 400)


# ---------------------------------------------------------------- the other process


@dataclass(frozen=True)
class Plan:
    """What is written and by how many it is followed; an interval of 0 seconds writes nothing."""

    path: Path
    steps: int
    interval: float
    followers: int


def write_and_receive(plan: Plan, port: int, report: Connection) -> None:
    """Report the delays of all steps at all followers."""
    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        ends = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(plan.followers)]
        receiving = [threads.submit(receive, end, plan.steps) for end in ends]
        written = write(plan) if plan.interval else [0.0] * plan.steps
        arrived = [each.result() for each in receiving]
        report.send([at - wrote for times in arrived for at, wrote in zip(times, written, strict=True)])


def write(plan: Plan) -> list[float]:
    """When each step was written."""
    data, written = os.urandom(STEP), []
    with plan.path.open("ab", buffering=0) as file:
        began = time.monotonic()
        for step in range(1, plan.steps + 1):
            time.sleep(max(0, began + step * plan.interval - time.monotonic()))
            file.write(data)
            written.append(time.monotonic())
    return written


def receive(sock: socket.socket, steps: int) -> list[float]:
    """When each step was complete."""
    buffer, arrived = memoryview(bytearray(STEP)), []
    for _ in range(steps):
        left = STEP
        while left:
            left -= sock.recv_into(buffer[:left])
        arrived.append(time.monotonic())
    return arrived


# ---------------------------------------------------------------- this one


def measure(plan: Plan, open_body: Callable[[int], Body]) -> tuple[list[float], float]:
    """The delays, and the processor seconds of sending."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        arguments = (plan, listener.getsockname()[1], theirs)
        other = multiprocessing.get_context("spawn").Process(target=write_and_receive, args=arguments)
        other.start()
        sockets = [stack.enter_context(listener.accept()[0]) for _ in range(plan.followers)]
        spent = asyncio.run(send([open_body(os.open(plan.path, os.O_RDONLY)) for _ in sockets], sockets))
        delays: list[float] = ours.recv()
        other.join()
    return delays, spent


async def send(bodies: Sequence[Body], sockets: Sequence[socket.socket]) -> float:
    """Processor seconds that it took."""
    before = time.process_time()
    async with asyncio.TaskGroup() as group:
        for body, sock in zip(bodies, sockets, strict=True):
            sock.setblocking(False)  # noqa: FBT003
            group.create_task(body.send_to(ConnectionSink(sock.fileno(), _no_write)))
    spent = time.process_time() - before
    for body in bodies:
        await body.aclose()
    return spent


async def _no_write(_: object) -> None:
    raise AssertionError("a plain connection is written to through its descriptor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--followers", type=int, nargs="*", default=[1, 4])
    options = parser.parse_args()
    span = Span.whole(options.mebibytes * STEP)
    print(f"{'':12}  followers  delay p50   p99      CPU")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        for followers in options.followers:
            for rate in MEGABYTES_A_SECOND:
                path.write_bytes(b"")
                watching = partial(watching_arrival, digest=Digest.of(b""), events=FileEvents(), inflows=Inflows())
                growing = partial(GrowingBody, span=span, watching=watching)
                delays, spent = measure(Plan(path, options.mebibytes, STEP / rate / 1e6, followers), growing)
                line = f"{statistics.median(delays) * 1e3:8.2f}   {statistics.quantiles(delays, n=100)[98] * 1e3:6.2f}"
                print(f"{rate:4} MB/s     {followers:6}    {line}   {spent / followers / span.length * 2**30:6.3f}")
            _, spent = measure(Plan(path, options.mebibytes, 0, followers), partial(FileBody, span=span))
            print(f"{'whole':12}  {followers:6}    {'':19} {spent / followers / span.length * 2**30:6.3f}")


if __name__ == "__main__":
    main()
