"""A run's own network: no neighbour, no firewall, and congestion control as Linux has it by default."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.entered import entered
from lab.congestion import chosen, machines_own
from lab.errors import UnavailableError
from lab.namespaces import new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_network() -> Iterator[str]:
    """This process, and what it starts meanwhile, in a network namespace; without root it remains where it is.

    What is yielded says where it is.
    """
    with ExitStack() as cleanup:
        try:
            namespace, _ = cleanup.enter_context(entered(new_namespace("benchmarks")))
        except UnavailableError:
            yield f"the machine's network, {machines_own()}"
        else:
            cleanup.enter_context(namespace.entered())
            yield f"a network of its own, {chosen()}"
