"""How many tasks of asyncio an agent has, told to the soak by a file.

A thread of the agent's process counts them. No metric of an agent does: each task that an agent starts has an owner
that ends it, and this is the proof.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import Final

# The environment variable with the file's path.
VARIABLE: Final = "HURRIED_TASKS"
_PAUSE_SECONDS: Final = 1.0


def tell_tasks() -> None:
    """Write their number to the file again and again, as long as the process lives."""
    if path := os.environ.get(VARIABLE):
        threading.Thread(target=_tell, args=(Path(path),), name="tell tasks", daemon=True).start()


def _tell(path: Path) -> None:
    new = path.with_suffix(".new")
    loops: list[asyncio.AbstractEventLoop] = []
    while True:
        time.sleep(_PAUSE_SECONDS)
        # The loop is made once, and whoever runs it is far from here.
        loops = loops or [each for each in gc.get_objects() if isinstance(each, asyncio.BaseEventLoop)]
        new.write_text(str(sum(len(asyncio.all_tasks(loop)) for loop in loops)))
        new.rename(path)
