"""What killed processes leave behind, and what living ones are doing."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.directory.store import open_directory_store
from tests.contracts.content_store import read
from tests.fakes.layouts import blob_path, read_index

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"some content"

# A process that is in the middle of an ingest, and says so; then it works until it is killed.
_RECEIVES = """
import asyncio, sys
from pathlib import Path
from registryd.oci.digest import Digest
from registryd.store.directory.store import open_directory_store

async def main():
    async with open_directory_store(Path(sys.argv[1])) as store:
        ingest = await store.begin(Digest.of(b"never finished"))
        await ingest.write(b"never")
        print("receiving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

# A process that puts and names one image after the other.
_WORKS = """
import asyncio, sys
from pathlib import Path
from registryd.store.directory.store import open_directory_store
from tests.fakes.images import oci_image

async def main():
    async with open_directory_store(Path(sys.argv[1])) as store:
        print("working", flush=True)
        for number in range(10_000):
            image = oci_image(f"registry.example/demo/app:v{number}", layers=(b"%d" % number * 1000,))
            for digest, data in image.blobs.items():
                ingest = await store.begin(digest, size=len(data))
                await ingest.write(data)
                await ingest.commit()
            await store.name({image.name: image.target})

asyncio.run(main())
"""


def start(script: str, root: Path) -> subprocess.Popen[bytes]:
    """Run a script until it says that it is at work."""
    process = subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def sessions(root: Path) -> list[Path]:
    """The folders of processes that are at work, or were."""
    return list(root.glob("ingest/*/"))


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_sessions_of_the_dead_are_removed_and_of_the_living_kept(root: Path) -> None:
    dead, living = start(_RECEIVES, root), start(_RECEIVES, root)
    kill(dead)
    try:
        before = sessions(root)
        assert len(before) == 2
        async with open_directory_store(root):
            [kept] = sessions(root)
            assert kept in before
            [growing] = [path for path in kept.iterdir() if path.name != "lock"]
            assert growing.read_bytes() == b"never"
    finally:
        kill(living)
    async with open_directory_store(root):
        assert sessions(root) == []


@pytest.mark.parametrize("milliseconds", [5, 20, 60, 150])
async def test_killed_at_any_time_nothing_is_corrupt(root: Path, milliseconds: int) -> None:
    process = start(_WORKS, root)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(milliseconds / 1000)
    kill(process)
    async with open_directory_store(root) as store:
        for blob in (root / "blobs" / "sha256").iterdir():
            digest = Digest("sha256", blob.name)
            assert digest.verifies(await read(store, digest, Span.whole))
        for name in await store.names():
            [known] = await store.resolve(name)
            assert blob_path(root, known.target.digest).exists()
        assert len(read_index(root)["manifests"]) == len(await store.names())
        assert sessions(root) == []


async def test_strangers_in_the_ingest_folder_stay(root: Path) -> None:
    async with open_directory_store(root) as store:
        await (await store.begin(Digest.of(DATA))).aclose()
    (root / "ingest" / "notes").mkdir()
    (root / "ingest" / "file").write_text("x")
    async with open_directory_store(root):
        assert sorted(path.name for path in (root / "ingest").iterdir()) == ["file", "lock", "notes"]


async def test_ingest_folder_that_is_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    async with open_directory_store(root):
        pass
    victim = tmp_path / "victim" / ("0" * 32)
    victim.mkdir(parents=True)
    (victim / "precious").write_text("x")
    for path in (root / "ingest").iterdir():
        path.unlink()
    (root / "ingest").rmdir()
    (root / "ingest").symlink_to(victim.parent)
    async with open_directory_store(root):
        assert (victim / "precious").exists()
