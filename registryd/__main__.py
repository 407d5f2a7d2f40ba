"""The console entry: argv to a command, its outcome to an exit code.

0: done. 1: the command failed and said why in one line. 2: the command line or a setting is wrong, said in one line.
130: interrupted. 141: nobody reads the output any more. A command that answers a question may return a code of its own.
Commands are imported when they are called, so that `registryd version` needs no network library.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from registryd.commands import about, afresh
from registryd.commands.importing import garbage_left
from registryd.failures import CommandFailed

# name: where the function is, and its help, whose first paragraph is shown in the list of commands.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "agent": ("registryd.commands.agent:run_agent", about.AGENT),
    "cache": ("registryd.commands.cache:run_cache", about.CACHE),
    "import": ("registryd.commands.import_export:import_command", about.IMPORT),
    "export": ("registryd.commands.import_export:export_command", about.EXPORT),
    "install": ("registryd.commands.install:install", about.INSTALL),
    "uninstall": ("registryd.commands.install:uninstall", about.UNINSTALL),
    "doctor": ("registryd.commands.doctor:doctor", about.DOCTOR),
    "status": ("registryd.commands.status:status", about.STATUS),
    "release": ("registryd.commands.release:release", about.RELEASE),
    "talos": ("registryd.commands.talos:talos", about.TALOS),
    "verify": ("registryd.commands.verify:verify", about.VERIFY),
    "prefetch": ("registryd.commands.prefetch:prefetch", about.PREFETCH),
    "background": ("registryd.commands.background:background", about.BACKGROUND),
    "pins": ("registryd.commands.pins:pins", about.PINS),
    "unpin": ("registryd.commands.pins:unpin", about.UNPIN),
    "secret": ("registryd.commands.secret:print_secret", about.NEW_KEY),
    "version": ("registryd.commands.version:print_version", about.VERSION),
}
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None, *, commands: Mapping[str, tuple[str, str]] = COMMANDS) -> int:
    """Run the command that the arguments (default: those of the process) name; returns the exit code."""
    try:
        if afresh.is_afresh():
            afresh.go_on()
            return 0
        words = sys.argv[1:] if arguments is None else arguments
        with garbage_left():
            # Here and not above: what goes on afresh is to have no parser.
            from registryd.commands.parsing import call  # noqa: PLC0415

            if words and words[0] in commands:
                import_module(commands[words[0]][0].partition(":")[0])
        result = call(words, commands)
        sys.stdout.flush()
    except CommandFailed as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Nothing must try to write the rest of the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return result if isinstance(result, int) else 0


def _complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    sys.stderr.write(f"registryd: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
