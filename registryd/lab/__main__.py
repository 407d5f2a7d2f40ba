"""Get the containerds that the tests run on: `python -m registryd.lab`, or `python -m registryd.lab 2.2` for one more.

Says where each is, or in one line why it cannot be had here; the tests decide what that means.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, get_args

from registryd.lab.errors import UnavailableError
from registryd.lab.versions import TESTED_SERIES, Series, obtain

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m registryd.lab", description="Get the lab's containerds.")
    parser.add_argument("series", nargs="*", type=_series, help=f"default: {' '.join(TESTED_SERIES)}")
    for series in parser.parse_args(arguments).series or TESTED_SERIES:
        sys.stdout.write(f"{await _where(series)}\n")
        sys.stdout.flush()


def _series(text: str) -> str:
    if text not in get_args(Series):
        raise argparse.ArgumentTypeError(f"not one of {' '.join(get_args(Series))}: {text}")
    return text


async def _where(series: Series) -> str:
    try:
        release = await obtain(series)
    except UnavailableError as error:
        return f"containerd {series}: {error}"
    return f"{release}: {release.programs}"


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
