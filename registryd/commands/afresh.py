"""Running the agent without modules that it needs only once: the parser of the command line and of settings.

These modules are 2 MiB of an idle agent, and Python cannot unload a module. So the program that has read and checked
the settings executes itself, with the same command line. For its parent it is the same process with the same
descriptors. It finds the checked settings in memory that it inherited, so it reads and decides nothing twice.
"""

from __future__ import annotations

import asyncio
import copyreg
import os
import pickle
import ssl
import sys
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from registryd.aio.steady_loop import SteadyLoop
from registryd.commands.importing import garbage_left
from registryd.identity.tls_version import refuse_old_tls
from registryd.observability.logs import set_up_logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from registryd.config.agent import Settings

# The descriptor of that memory. A name that no setting can have (REGISTRYD_…).
_VARIABLE: Final = "_REGISTRYD_CHECKED"
# glibc gives each thread memory of its own, 0.3 MiB in all; what is moved in threads here needs next to none.
_ONE_ARENA: Final = {"MALLOC_ARENA_MAX": "1"}


def run_afresh(opening: str, settings: Settings) -> NoReturn:
    """Run what `opening` names, as `module:function`, until SIGTERM or SIGINT; the settings are sound."""
    descriptor = os.memfd_create("registryd-settings", 0)  # 0: it outlives the execution
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        pickle.dump((opening, settings), file)
    # The interpreter's own flags are among the original arguments.
    environment = os.environ | _ONE_ARENA | {_VARIABLE: str(descriptor)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def is_afresh() -> bool:
    """Whether this program was executed by `run_afresh`."""
    return _VARIABLE in os.environ


def go_on() -> None:
    """Do what `run_afresh` was called for; raises CommandFailed if it cannot start or go on."""
    with os.fdopen(int(os.environ.pop(_VARIABLE)), "rb") as file:
        file.seek(0)
        opening, settings = pickle.load(file)  # noqa: S301 - from ourselves; nobody else has the descriptor
    set_up_logs(form=settings.log.format, level=settings.log.level)
    refuse_old_tls()
    module, _, name = opening.partition(":")
    # Here and not above: what speaks TLS and what logs is configured first.
    with _hosts_authorities_unread(), garbage_left():
        from registryd.agent.running import run  # noqa: PLC0415

        opening_function = getattr(import_module(module), name)
    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        runner.run(run(settings, opening=opening_function))


@contextmanager
def _hosts_authorities_unread() -> Iterator[None]:
    """Import meanwhile what makes a TLS context with all authorities of the host for itself, as aiohttp does.

    That is 1.5 MiB in which nobody here trusts: who connects brings a context of its own, made when it is needed.
    """
    paths = ssl.get_default_verify_paths()
    chosen = {name: os.environ.get(name) for name in (paths.openssl_cafile_env, paths.openssl_capath_env)}
    os.environ.update(dict.fromkeys(chosen, os.devnull))
    try:
        yield
    finally:
        for name, value in chosen.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _read_only(entries: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(entries)


# Settings have tables that are read-only, which pickle does not know.
copyreg.pickle(MappingProxyType, lambda table: (_read_only, (dict(table),)))
