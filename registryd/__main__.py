"""The console entry: argv to a command, its outcome to an exit code.

0: done. 1: the command failed and said why in one line. 2: the command line or a setting is wrong, said in one line.
130: interrupted. 141: nobody reads the output any more. A command that answers a question may return a code of its own.
Commands are imported when they are called, so that `registryd version` needs no network library.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from registryd.commands import afresh
from registryd.failures import CommandFailed

_AGENT_HELP = """Run the agent of this node.

containerd asks it first, and it answers from what this node and its peers have.

Every setting is a flag, an environment variable and a key of the TOML file, and goes before in this order:
--peers.find_timeout 1s, REGISTRYD_PEERS_FIND_TIMEOUT=1s, [peers] find_timeout = "1s".
A list is separated by commas, or its flag is repeated."""

_CACHE_HELP = """Run a pull-through cache of many registries.

It answers what it has, and fetches what it lacks from the registries that upstreams.allow names, each byte once."""

# name: where the function is, and its help, whose first paragraph is shown in the list of commands.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "agent": ("registryd.commands.agent:run_agent", _AGENT_HELP),
    "cache": ("registryd.commands.cache:run_cache", _CACHE_HELP),
    "import": ("registryd.commands.import_export:import_command", "Put the images of an OCI archive into the store."),
    "export": ("registryd.commands.import_export:export_command", "Write images of the store into an OCI archive."),
    "install": ("registryd.commands.install:install", "Make this node's containerd ask registryd first."),
    "uninstall": ("registryd.commands.install:uninstall", "Put back what install changed on this node."),
    "doctor": (
        "registryd.commands.doctor:doctor",
        "Look at this node and its peers; say what is wrong, and what to do about it.",
    ),
    "status": ("registryd.commands.status:status", "Show members, content and transfers of the cluster."),
    "release": ("registryd.commands.release:release", "Let go of the layers that the agent keeps in containerd."),
    "talos": (
        "registryd.commands.talos:talos",
        "Print the machine configuration that does the same on Talos.",
    ),
    "verify": ("registryd.commands.verify:verify", "Check that an endpoint has all images of a list, whole and right."),
    "prefetch": (
        "registryd.commands.prefetch:prefetch",
        "Fill a cache, or this node's containerd, with all images of a list.",
    ),
    "pins": (
        "registryd.commands.pins:pins",
        "Show the images that are kept from the kubelet's garbage collection here.",
    ),
    "unpin": ("registryd.commands.pins:unpin", "Let the kubelet collect images again that lists have pinned."),
    "secret": ("registryd.commands.secret:print_secret", "Print a new cluster secret: registryd secret new."),
    "version": ("registryd.commands.version:print_version", "Print the version."),
}
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None, *, commands: Mapping[str, tuple[str, str]] = COMMANDS) -> int:
    """Run the command that the arguments (default: those of the process) name; returns the exit code."""
    try:
        if afresh.is_afresh():
            afresh.go_on()
            return 0
        # Here and not above: what goes on afresh is to have no parser.
        from registryd.commands.parsing import call  # noqa: PLC0415

        result = call(arguments, commands)
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
