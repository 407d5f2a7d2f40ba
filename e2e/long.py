"""How the end-to-end tests fit into `.ci/run`, which is to end within 45 minutes on two processors.

Some variants of tests are left to `./dev e2e`, marked `long`: `./dev test` runs the same test on the newest containerd,
mostly on an old one too, or in another variant. Where registryd does something else by version, `./dev test` runs on
more of them: install, what is read of configurations, `--configure-containerd`. `tests/lab/test_long.py` holds that
each test runs in one variant at least, and on the newest containerd if `./dev e2e` runs it there.

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
    # 2.3 beside 2.4, but for its store, where its configuration is read, and for one whole story of a pull. The matrix
    # of faults and those of caches have 2.3 in them besides: they take their containerds all at once.
    r"(?!test_containerd_|test_configure|test_sharing\.py::test_an_image_of_one_node_).*\[(.*-)?2\.3(-.*)?\]",
    # What installing does differently by version: 1.7 and 2.4 have a format each, 2.1 a third, and 1.6 is in layouts.
    r"test_install\.py::(?!test_containerds_own_default_|test_mirrors_of|test_a_broken).*\[1\.6(-.*)?\]",
    r"test_install\.py::test_(the_mirror_comes_first|interrupted|cert|a_restart_that_fails|some|without).*\[2\.1\]",
    r"test_install\.py::test_a_list_of_paths_.*\[(1\.7-discard_unpacked_layers|2\.1-default)\]",
    # The old containerd reads nothing in these that it does not read in other layouts.
    r"test_layouts\.py::.*\[(AKS|GKE|k3s .*|rke2 .*|MicroK8s|Flatcar.*|NixOS.*)-1\.6\]",
    r"test_layouts\.py::.*\[(an empty file|a file without a version|another socket, by.*|another configuration)-1\.6\]",
    # One old containerd is enough, and the newest.
    r"test_containerd_store\.py::.*\[(1\.7|2\.1)(-.*)?\]",
    r"test_entitlement\.py::test_a_private_image_.*\[(1\.7|2\.1)-(tls|plain)\]",
    r"test_entitlement_matrix\.py::test_(those_who_may|a_login_of|no_way_of_writing).*\[1\.7\]",
    r"test_sharing\.py::test_(the_next_mirror|default_hosts)_.*\[(1\.7|2\.1)\]",
    # The newest alone.
    r"test_books\.py::test_what_is_pulled_past_its_agent_.*\[1\.6\]",
    r"test_cache_odd\.py::test_a_manifest_of_more_than_.*\[1\.6\]",
    r"test_doctor\.py::test_(faults_of|an_admin_port|a_clock)_.*\[1\.6\]",
    r"test_entitlement\.py::test_the_secret_is_changed_.*\[1\.6\]",
    r"test_entitlement_matrix\.py::test_nobody_is_given.*\[upstream-1\.7\]",
    r"test_growing\.py::test_who_followed_a_node_that_vanished_.*\[1\.6\]",
    r"test_leases\.py::test_(an_uninstall|the_budget)_.*\[1\.6\]",
    r"test_node_life\.py::test_one_without_cri_.*\[1\.6\]",
    r"test_rollout\.py::test_(a_fetching_node_that_is_lost|a_partition|a_slow_node|an_index_node)_.*\[1\.6(-.*)?\]",
    r"test_stripes\.py::test_those_that_come_when_.*\[1\.6\]",
    r"test_sums\.py::test_bytes_that_come_by_grpc_.*\[1\.6\]",
    # Other variants than containerds.
    r"faults/test_characters\.py::.*\[(silent|door-refuses|too-few|wrong-length|errors|trickles)-beside-a-good-one\]",
    r"faults/test_several\.py::.*\[(resets|ends-early|trickles|wrong-length|vanishes)-one\]",
    r"faults/test_several\.py::.*\[(stalls|sluggish|dies)-all\]",
    # Each takes a wave of eight nodes; test_stripes has some of these faults besides.
    r"faults/test_stripe_members\.py::.*\[(?!stands-still).*\]",
    r"test_cache_registries\.py::test_other_clients_.*\[(docker-registry-(crane|oras|regctl|podman)|ggcr-(oras|regctl|podman))\]",
    r"test_containerd_config\.py::test_we_read_what_containerd_reads\[(1\.7|2\.1)\]",
    r"test_parallel_fetch\.py::test_a_wrong_chunk_.*\[(0-short|1048576-whole|1000003-short)\]",
    r"test_pins\.py::.*\[1\.7\]",
    # Stripes are off by default; the other roles have no branch of their own for them.
    r"test_stripes\.py::test_an_agent_that_dies_.*\[(fetcher|index)\]",
    r"test_stripes\.py::test_a_node_that_falls_silent_.*\[fetcher\]",
    r"test_stripes\.py::test_an_agent_of_an_older_.*\[fetcher\]",
)
# The modules that take longest, in that order; of some of them a test takes minutes. All others follow by their number
# of tests. Where modules of minutes came last, workers had nothing to do at the end.
FIRST: Final = (
    *("test_layouts.py", "test_doctor.py", "test_install.py", "test_sharing.py", "test_node_life.py"),
    *("test_rollout.py", "test_stripes.py", "test_cache_odd.py", "test_play.py", "test_entitlement.py"),
    *("test_copies.py", "test_copies_zones.py"),  # these wait for minutes, and compute little
    "test_cache_registries.py",
    *("test_containerd_store.py", "test_leases.py", "test_entitlement_matrix.py", "faults/test_characters.py"),
    *("test_parallel_fetch.py", "test_cache_trouble.py", "test_bandwidth.py", "faults/test_real_agents.py"),
    *("test_growing.py", "test_container_image.py", "test_cache_in_cluster.py", "test_states.py"),
    *("faults/test_stripe_members.py", "test_containerd_config.py", "test_books.py", "faults/test_several.py"),
    *("test_cache_forms.py", "test_lab.py"),
    *("test_sums.py", "test_soak.py", "test_adversary.py"),
    *("test_blocking.py", "test_pins.py"),
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
