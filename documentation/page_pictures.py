"""Pictures of the status page as a real browser shows it: three clusters, three widths; docs/pictures has some.

`python -m documentation.page_pictures FOLDER [--dark]` needs chromium (Debian's package).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.notation import Address
from registryd.observability.metrics import Metrics
from registryd.serving.admin import BODIES_AT, AdminDoor
from registryd.serving.listener import open_door
from tests.fakes.overviews import overview

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KINDS: Final = ("idle", "busy", "damaged")
# A phone, a laptop, a wall.
WIDTHS: Final = {390: 2600, 1280: 1500, 2560: 1200}
_SECONDS: Final = 60


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[Address]:
    """The real admin door, with a cluster that was made up."""

    async def not_ready() -> None:
        return None

    door = AdminDoor(metrics=Metrics(), not_ready=not_ready)
    door.show(overview(kind))
    async with open_door(door.handle, Address("127.0.0.1", 0), bodies_at=BODIES_AT) as opened:
        yield opened.address


async def browse(
    address: Address,
    *words: str,
    path: str = "/",
    is_dark: bool = False,
    inside: Callable[..., list[str]] = lambda *command: list(command),
) -> str:
    """What chromium prints about the page, when its script has shown everything; `inside` a network namespace."""
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("chromium is not installed (apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="page") as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        flags += [f"--user-data-dir={profile}", "--virtual-time-budget=3000", *words]
        if is_dark:
            flags += ["--blink-settings=preferredColorScheme=0"]
        process = await asyncio.create_subprocess_exec(
            *inside(program, *flags, f"http://{address}{path}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output.decode()


async def _take(folder: Path, *, is_dark: bool) -> None:
    for kind in KINDS:
        async with serving(kind) as address:
            for width, height in WIDTHS.items():
                path = folder / f"page-{kind}-{width}{'-dark' if is_dark else ''}.png"
                await browse(address, f"--screenshot={path}", f"--window-size={width},{height}", is_dark=is_dark)
                print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_take(given.folder, is_dark=given.dark))


if __name__ == "__main__":
    main()
