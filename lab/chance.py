"""The seed of what a test chooses at random: the same in each run, so that a fault comes again; or as SEED says."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "SEED"
# Any number would do.
USUAL_SEED: Final = 7
_SEEDS: Final = 1_000_000
_MOST_DIGITS: Final = 18


def chosen_seed(environment: Mapping[str, str] = os.environ) -> int:
    """For the caller to print. With SEED=random another one each time. Raises LabError for what is no seed."""
    written = environment.get(VARIABLE) or str(USUAL_SEED)
    if written == "random":
        return secrets.randbelow(_SEEDS)
    if not (written.isascii() and written.isdigit() and len(written) <= _MOST_DIGITS):
        raise LabError(f"{VARIABLE}={written[:40]!r} is neither a whole number nor 'random'")
    return int(written)
