"""Get the programs that the tests run on: `python -m lab`, or `python -m lab 2.2` for one more.

Says where each is, or in one line why it cannot be had here; the tests decide what that means.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, get_args

from lab.errors import UnavailableError
from lab.programs import PROGRAMS, obtain_programs
from lab.versions import TESTED_SERIES, Series, obtain

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Get the lab's containerds and other programs.")
    parser.add_argument("series", nargs="*", type=_series, help=f"default: {' '.join(TESTED_SERIES)}")
    wanted = parser.parse_args(arguments).series
    for series in wanted or TESTED_SERIES:
        _say(await _where(series))
    for name in () if wanted else PROGRAMS:
        _say(await _where_programs(name))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
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


async def _where_programs(name: str) -> str:
    try:
        return f"{name} {PROGRAMS[name].version}: {await obtain_programs(name)}"
    except UnavailableError as error:
        return f"{name}: {error}"


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
