"""One member of valid secret against an agent: `./dev adversary`. Exits with 1 if a figure is not kept.

Wanted: the agent has at most 128 MiB of resident memory, an honest member's find takes at most three times as long as
without the adversary (median, and 99 of 100), no pull fails, and nothing in the log is a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Final

from e2e.adversary.attacker import ATTACKS
from e2e.adversary.figures import table
from e2e.adversary.run import besiege
from lab.errors import LabError

# Within which memory is to be free again.
_AFTERWARDS_SECONDS: Final = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev adversary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="half of it for one attack after the other")
    parser.add_argument("--only", action="append", choices=ATTACKS, help="may be given several times")
    options = parser.parse_args()
    attacks = options.only or list(ATTACKS)
    print(f"{len(attacks)} attacks in {options.seconds:g} s, load {os.getloadavg()[0]:.1f}", flush=True)
    try:
        record = asyncio.run(besiege(attacks, seconds=options.seconds, afterwards=_AFTERWARDS_SECONDS))
    except LabError as error:
        print(error)
        return 1
    print("", *table(record), "", f"load {os.getloadavg()[0]:.1f} at the end", sep="\n")
    print(*(record.faults() or ["every figure is kept"]), sep="\n")
    return 1 if record.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
