"""The command line: which command its words name, and what they give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from registryd.commands.usage import explain
from registryd.failures import UsageError
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_ABOUT = """What one containerd node has, every node can pull.

registryd is a peer-to-peer image mirror for containerd: one agent runs on each node.
`registryd cache` is a pull-through cache for many registries."""


def call(arguments: Sequence[str] | None, commands: Mapping[str, tuple[str, str]]) -> object:
    """What the command returns that the words name (default: those of the process). Raises CommandFailed."""
    try:
        return _app(commands)(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(explain(error, commands=commands)) from error


def _app(commands: Mapping[str, tuple[str, str]]) -> App:
    app = App(
        name="registryd",
        help=_ABOUT,
        help_epilogue="`registryd COMMAND --help` shows the flags of a command.",
        help_format="plaintext",
        version=VERSION,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, (command, about) in commands.items():
        app.command(command, name=name, help=about)
    return app
