"""How the end-to-end tests fit into `.ci/run`, which is to end within 45 minutes on two processors.

Some variants of tests, half a minute or so each, are left to `./dev e2e`, marked `long`: `./dev test` runs the same
test on another containerd, the newest if it can be, or in another variant. `tests/lab/test_long.py` holds that each
test runs in one variant at least.

The modules run side by side, each on one worker: those that take longest begin first.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Regular expressions for what stands behind the folder in a test's name.
LONG: Final = (
    r"faults/test_characters\.py::.*\[(silent|door-refuses|too-few|wrong-length|errors|trickles)-beside-a-good-one\]",
    r"faults/test_several\.py::.*\[(resets|ends-early|trickles|wrong-length|vanishes)-one\]",
    r"faults/test_several\.py::.*\[(stalls|sluggish|dies)-all\]",
    r"test_books\.py::test_what_is_pulled_past_its_agent_.*\[(1\.6|2\.3)\]",
    r"test_cache_odd\.py::test_containerd_pulls_through_the_cache_.*\[2\.3\]",
    r"test_containerd_config\.py::test_we_read_what_containerd_reads\[(1\.7|2\.1)\]",
    r"test_doctor\.py::test_(faults_of|what_the_running).*\[2\.3\]",
    r"test_entitlement\.py::test_the_secret_is_changed_.*\[(1\.6|2\.3)\]",
    r"test_entitlement_matrix\.py::test_(nobody_is_given|no_way_of_writing).*\[(upstream-)?1\.7\]",
    r"test_growing\.py::test_who_followed_a_node_that_vanished_.*\[(1\.6|2\.3)\]",
    r"test_install\.py::test_interrupted_at_any_step_.*\[(1\.7|2\.1|2\.3)\]",
    r"test_parallel_fetch\.py::test_a_wrong_chunk_.*\[(1048576-whole|1000003-short)\]",
    r"test_pins\.py::.*\[(1\.7|2\.3)\]",
    r"test_rollout\.py::test_a_fetching_node_that_is_lost_.*\[(1\.6|2\.3)\]",
    r"test_rollout\.py::test_a_slow_node_.*\[(1\.6|2\.3)-",
)
# The modules that take longest, of which some have few tests; all others follow by their number of tests.
# With the faults at the end, two workers of three had nothing to do for minutes.
FIRST: Final = (
    *("faults/test_characters.py", "test_layouts.py", "test_install.py", "test_rollout.py", "test_entitlement.py"),
    *("test_doctor.py", "faults/test_several.py", "test_node_life.py", "test_sharing.py", "test_entitlement_matrix.py"),
    *("test_play.py", "test_cache_odd.py", "test_cache_registries.py", "test_leases.py", "test_containerd_store.py"),
    *("test_growing.py", "test_sums.py", "test_bandwidth.py", "test_parallel_fetch.py"),
)


def mark(items: Iterable[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.partition("/")[2]
        if any(re.match(pattern, name) for pattern in LONG):
            item.add_marker(pytest.mark.long)


def put_in_order(items: list[pytest.Item]) -> None:
    """Needs `--no-loadscope-reorder`: pytest-xdist would take the number of tests alone."""
    sizes = Counter(item.path for item in items)

    def rank(item: pytest.Item) -> tuple[int, int]:
        module = item.nodeid.partition("::")[0].removeprefix("e2e/")
        if module.startswith("kubernetes/"):
            return len(FIRST), 0  # those have an order of their own: one cluster's life
        return FIRST.index(module) if module in FIRST else len(FIRST), -sizes[item.path]

    items.sort(key=rank)
