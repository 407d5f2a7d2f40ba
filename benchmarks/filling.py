"""A cache that is filled from a long list: what a name costs beside ten thousand, how long tiny images take.

`python -m benchmarks.filling` measures this tree. `--against TREE` has another checkout's cache and prefetch (with its
stubs made: `./dev protos`) fill a cache as well, at the same time on the same machine, from the same registry: on a
machine that does other things, the ratio says more than the seconds. The registry is olareg: it takes the least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.cache import cache_command
from benchmarks.processes import free_port, running, watching_memory
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.programs import obtain_programs
from lab.push import Repository
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import FullName, TaggedName
from registryd.store.directory.store import open_directory_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.store.directory.store import DirectoryStore

_MIB: Final = 1024**2
_TEAMS: Final = 20
_PUSHES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Naming:
    """Milliseconds for a new tag, median of those that were given: of processor time, and in all."""

    names_before: int
    processor_ms: float
    wall_ms: float


@dataclass(frozen=True, slots=True)
class Filling:
    """Seconds, and MiB at most, of an empty cache that is given images; whether prefetch says that it has them all."""

    tree: str
    images: int
    is_complete: bool
    seconds: float
    cache_processor: float
    prefetch_processor: float
    resident_mib: float


# ---------------------------------------------------------------- names


async def measure_naming(folder: Path, *, names: int, samples: int = 100) -> Naming:
    """New names of manifests that are there, in a store that has so many."""
    async with open_directory_store(folder / f"names-{names}") as store:
        blobs = folder / f"names-{names}" / "blobs" / "sha256"
        targets: dict[FullName, Descriptor] = dict(_manifest(blobs, number) for number in range(names))
        if targets:
            await store.name(targets)
        processor, wall = [], []
        for number in range(names, names + samples):
            name, target = _manifest(blobs, number)
            begun = time.process_time(), time.perf_counter()
            await store.name({name: target})
            processor.append(time.process_time() - begun[0])
            wall.append(time.perf_counter() - begun[1])
            await _check(store, name, target)
    return Naming(names, statistics.median(processor) * 1000, statistics.median(wall) * 1000)


async def _check(store: DirectoryStore, name: TaggedName, target: Descriptor) -> None:
    if [found.target.digest for found in await store.resolve(name)] != [target.digest]:
        raise ValueError(f"{name} is not {target.digest}")


def _manifest(blobs: Path, number: int) -> tuple[TaggedName, Descriptor]:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{number:064x}", "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    data = json.dumps(document).encode()
    digest = Digest.of(data)
    (blobs / digest.encoded).write_bytes(data)
    return TaggedName.parse(f"up.lab/{_repository(number)}:v1"), Descriptor(OCI_MANIFEST, digest, len(data))


# ---------------------------------------------------------------- images


async def push_images(folder: Path, port: int, *, count: int) -> Path:
    """So many tiny ones for two platforms; returns the list of their names."""
    places = asyncio.Semaphore(_PUSHES_AT_ONCE)

    async def push(number: int) -> None:
        async with places:
            recipe = ImageRecipe(layers=(LayerRecipe(500),), seed=f"tiny-{number}")
            image = await asyncio.to_thread(make_image, folder / "images" / str(number), recipe)
            await Repository(f"http://127.0.0.1:{port}/v2/{_repository(number)}").push(image)

    await asyncio.gather(*(push(number) for number in range(count)))
    path = folder / "images.txt"
    path.write_text("".join(f"up.lab/{_repository(number)}:v1\n" for number in range(count)))
    return path


def _repository(number: int) -> str:
    return f"team{number % _TEAMS}/app{number}"


def measure_filling(folder: Path, tree: Path, images: Path, upstream: int) -> Filling:
    """A prefetch of a tree into an empty cache of the same."""
    port, place = free_port(), folder / f"cache-of-{tree.name}"
    place.mkdir()
    with ExitStack() as cleanup:
        cache = cleanup.enter_context(running(_of(tree, cache_command(place, port, upstream)), ports=(port,)))
        command = [sys.executable, "-m", "registryd", "prefetch", "--images", str(images), "--platform", "linux/amd64"]
        output = cleanup.enter_context((folder / f"prefetch-of-{tree.name}.log").open("wb"))
        before, processor = cache.resident_bytes(), cache.cpu_seconds()
        with watching_memory(cache) as added:
            begun = time.perf_counter()
            into = ["--into", f"http://127.0.0.1:{port}"]
            prefetch = subprocess.Popen(_of(tree, [*command, *into]), stdout=output, stderr=output)
            _, status, usage = os.wait4(prefetch.pid, 0)
            prefetch.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
        return Filling(
            tree=str(tree),
            images=len(images.read_text().splitlines()),
            is_complete=prefetch.returncode == 0,
            seconds=seconds,
            cache_processor=cache.cpu_seconds() - processor,
            prefetch_processor=usage.ru_utime + usage.ru_stime,
            resident_mib=(before + max(added, default=0)) / _MIB,
        )


def _of(tree: Path, command: list[str]) -> list[str]:
    """That tree's registryd, not the one that is installed."""
    return ["env", "-C", "/", f"PYTHONPATH={tree}", *command]


def measure_side_by_side(folder: Path, trees: list[Path], *, count: int) -> Iterator[Filling]:
    port = free_port()
    olareg = str(asyncio.run(obtain_programs("olareg")) / "olareg")
    options = ("--addr", "127.0.0.1", "--port", str(port), "--dir", str(folder / "upstream"))
    with running((olareg, "serve", *options), ports=(port,)):
        images = asyncio.run(push_images(folder, port, count=count))
        results: dict[Path, Filling] = {}

        def measure(tree: Path) -> None:
            results[tree] = measure_filling(folder, tree, images, port)

        threads = [threading.Thread(target=measure, args=(tree,), name=tree.name) for tree in trees]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield from (results[tree] for tree in trees if tree in results)


# ---------------------------------------------------------------- reporting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="tiny images to fill a cache with; 0: none")
    parser.add_argument(
        "--names", type=int, nargs="*", default=[0, 2000, 10_000], help="names beside which one is given"
    )
    parser.add_argument("--against", type=Path, help="another checkout, which fills a cache at the same time")
    parser.add_argument("--json", type=Path, default=Path("filling.json"))
    options = parser.parse_args()
    rows: list[Naming | Filling] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for names in options.names:
            naming = asyncio.run(measure_naming(folder, names=names))
            rows.append(naming)
            print(f"a new tag beside {names}: {naming.processor_ms:.2f} ms of processor, {naming.wall_ms:.2f} ms")
        trees = [Path(__file__).parents[1], *([options.against.resolve()] if options.against else [])]
        for filling in measure_side_by_side(folder, trees, count=options.images) if options.images else ():
            rows.append(filling)
            images = f"{filling.images} images{'' if filling.is_complete else ', INCOMPLETE'}"
            print(
                f"{images}, {filling.tree}: {filling.seconds:.1f} s, {filling.resident_mib:.1f} MiB,"
                f" processor {filling.cache_processor:.1f} s (cache), {filling.prefetch_processor:.1f} s (prefetch)"
            )
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
