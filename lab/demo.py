"""`python -m lab.demo`: three agents on this machine, and an image pulled on the third out of the first."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lab.errors import LabError
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.stage import containerd_stage, directory_stage, lacking_for_containerd
from lab.traffic import read_traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from lab.images import Image
    from lab.stage import Stage
    from lab.traffic import Traffic

_DEMO_IMAGE = ImageRecipe(layers=(LayerRecipe(32 * MIB), LayerRecipe(16 * MIB), LayerRecipe(8 * MIB), LayerRecipe(MIB)))
_INTERRUPTED = 130
_PULLING = (2, 1)  # the third node first: then the first is the only one that has the image


async def run(*, directories: bool) -> None:
    """Start three agents on this machine, pull an image on one, switch its origin off, pull it on the others.

    As root, with containerd and docker-registry installed, the nodes are real containerds in network namespaces;
    otherwise they are directories. Everything is gone afterwards, also after Ctrl-C.

    Args:
        directories: Use directories even where containerd could be used.

    Raises LabError when the demo cannot go on.
    """
    with _cancelled_by_signals():
        await _play(Console(highlight=False), "as you wish" if directories else await lacking_for_containerd())


async def _play(console: Console, lacking: str | None) -> None:
    if lacking:
        console.print(f"[dim]with directories in place of containerds: {lacking}[/]")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        async with _step(console, "making an image") as done:
            image = await asyncio.to_thread(make_image, Path(folder, "image"), _DEMO_IMAGE)
            done(f"an image of {len(image.local.layers)} layers, {_size(image)} for this platform")
        async with _step(console, "starting the nodes") as done:
            stage = await stack.enter_async_context(directory_stage() if lacking else containerd_stage())
            done(f"{len(stage.agents)} nodes: {stage.nodes_are}; the origin: {stage.origin_is}")
        await _show(console, stage, image)
    console.print("Everything that was started is gone again.")


async def _show(console: Console, stage: Stage, image: Image) -> None:
    async with _step(console, "the image gets onto node 1") as done:
        reference = await stage.publish(image)
        done(f"node 1 has {reference}, from the origin")
    async with _step(console, "switching the origin off") as done:
        await stage.close_origin()
        done("the origin is switched off")
    flows = {}
    for node in _PULLING:
        async with _step(console, f"node {node + 1} pulls {reference}") as done:
            before = await read_traffic(stage.agents)
            await stage.pull(node, reference)
            flows[node] = (await read_traffic(stage.agents)).since(before)
            done(f"node {node + 1} pulled {reference}, {decimal(flows[node].received[node])} of it from peers")
    console.print(_summary(flows, len(stage.agents)))


def _summary(flows: Mapping[int, Traffic], nodes: int) -> Table:
    """One pull ran at a time, so what the others sent meanwhile went to the node that pulled."""
    table = Table(title="Who sent what to whom", title_justify="left")
    table.add_column("from")
    for receiver in sorted(flows):
        table.add_column(f"to node {receiver + 1}", justify="right")
    for sender in range(nodes):
        sent = [flows[receiver].sent[sender] for receiver in sorted(flows)]
        table.add_row(f"node {sender + 1}", *(decimal(count) if count else "-" for count in sent))
    table.add_row("the origin", *("off" for _ in flows))
    return table


def _size(image: Image) -> str:
    return decimal(sum(layer.size for layer in image.local.layers))


@asynccontextmanager
async def _step(console: Console, doing: str) -> AsyncIterator[Callable[[str], None]]:
    """Shows what is going on, and then what came of it and how long it took."""
    outcome = [doing]
    began = time.monotonic()
    with console.status(doing):
        yield outcome.append
    console.print(f"[green]✓[/] {outcome[-1]} [dim]{time.monotonic() - began:.1f} s[/]", soft_wrap=True)


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order, leaving nothing behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


def main(arguments: Sequence[str]) -> int:
    """Run the demo; the exit code is 0, or 1 with one line on stderr, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Three agents here; an image pulled through them.")
    parser.add_argument(
        "--directories", action="store_true", help="use directories even where containerd could be used"
    )
    try:
        asyncio.run(run(directories=parser.parse_args(arguments).directories))
    except LabError as error:
        sys.stderr.write(f"the demo cannot go on: {error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
