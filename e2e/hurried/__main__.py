"""`python -m e2e.hurried agent …`: registryd, for which an hour of what is periodic or kept for long lasts a minute.

Time-outs of requests stay what they are: the network and the disk are no quicker than elsewhere.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from e2e.hurried.periods import FACTOR, PERIODS
from e2e.hurried.tasks import tell_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Hurrying:
    """Finds modules as Python does, and shortens the periods of those that have some, before anybody reads them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in PERIODS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            shortening: Any = _Shortening(spec.loader)  # all that importing asks of a loader
            spec.loader = shortening
        return spec


class _Shortening:
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for name in PERIODS[module.__name__]:
            # One that is no longer there is a mistake of the table, and ends the agent.
            period = getattr(module, name)
            setattr(module, name, period // FACTOR if isinstance(period, int) else period / FACTOR)


def main() -> int:
    hurrying: Any = Hurrying()  # all that importing asks of a finder
    sys.meta_path.insert(0, hurrying)
    from registryd.__main__ import main as run  # noqa: PLC0415 - its modules are to be found by the above

    tell_tasks()
    return run()


if __name__ == "__main__":
    sys.exit(main())
