"""The metrics that Prometheus' client libraries have for their process, under the same names.

https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from registryd.observability.prometheus import MetricsPage

_SELF: Final = Path("/proc/self")
# proc(5): fields are numbered from 1, and the first two end with the last parenthesis.
_STARTED: Final = 22 - 3


def add_process_series(page: MetricsPage) -> None:
    """Add them."""
    started = _started()
    size = resource.getpagesize()
    page.read("process_virtual_memory_bytes", "Virtual memory.", lambda: _pages(0) * size)
    page.read("process_resident_memory_bytes", "Resident memory.", lambda: _pages(1) * size)
    page.read("process_start_time_seconds", "Start of the process, in Unix time.", lambda: started)
    page.read("process_cpu_seconds_total", "Processor time, user and system.", time.process_time)
    page.read("process_open_fds", "Open file descriptors.", lambda: len(list((_SELF / "fd").iterdir())))
    page.read(
        "process_max_fds",
        "Largest number of open file descriptors.",
        lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _pages(field: int) -> int:
    return int((_SELF / "statm").read_text().split()[field])


def _started() -> float:
    ticks = int((_SELF / "stat").read_text().rpartition(")")[2].split()[_STARTED])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
