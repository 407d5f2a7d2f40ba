"""Helm's command line, as far as the documents use it, over Helm itself (helm-python-sdk: Helm 4 as a library).

PyPI has the library and not the program. A program of its own, because Go's threads and sockets have no place in the
tests' process: `python -m e2e.kubernetes.lab.helm install registryd charts/registryd --namespace kube-system`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_python import Chart, Config, HelmError, parse_set_string, parse_set_string_values, values_from_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Values = dict[str, Any]
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DEFAULT_SECONDS = 300  # Helm's own


def main(argv: Sequence[str]) -> int:
    """Perform one command; errors are said as Helm says them."""
    given = _parser().parse_args(argv)
    kubeconfig = os.environ.get("KUBECONFIG", str(Path.home() / ".kube/config"))
    with Config(kubeconfig_path=kubeconfig, namespace=given.namespace) as config:
        try:
            said = _COMMANDS[given.command](config, given)
        except (HelmError, OSError) as error:
            sys.stderr.write(f"Error: {error}\n")
            return 1
    sys.stdout.write(said)
    return 0


def _install(config: Config, given: argparse.Namespace) -> str:
    with Chart.load(given.chart) as chart:
        release = config.install(
            chart,
            given.name,
            _values(given),
            namespace=given.namespace,
            create_namespace=given.create_namespace,
            timeout=given.timeout,
            wait=given.wait,
        )
    return _notes(release)


def _upgrade(config: Config, given: argparse.Namespace) -> str:
    if given.install and not _exists(config, given.name):
        return _install(config, given)
    before: Values = {}
    if given.reset_then_reuse_values:
        before = dict(config.get_values(given.name))
    with Chart.load(given.chart) as chart:
        release = config.upgrade(
            chart,
            given.name,
            _merged(before, _values(given)),
            namespace=given.namespace,
            reset_values=True,
            timeout=given.timeout,
            wait=given.wait,
        )
    return _notes(release)


def _uninstall(config: Config, given: argparse.Namespace) -> str:
    config.uninstall(given.name, timeout=given.timeout, wait=given.wait)
    return f'release "{given.name}" uninstalled\n'


def _test(config: Config, given: argparse.Namespace) -> str:
    return str(config.test(given.name, timeout=given.timeout, logs=given.logs).get("logs") or "") + "tests passed\n"


_COMMANDS: dict[str, Callable[[Config, argparse.Namespace], str]] = {
    "install": _install,
    "upgrade": _upgrade,
    "uninstall": _uninstall,
    "test": _test,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="helm")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in _COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("name")
        command.add_argument("--namespace", "-n", default="default")
        command.add_argument("--timeout", type=_seconds, default=_DEFAULT_SECONDS)
        command.add_argument("--wait", nargs="?", const="watcher", default="hookOnly")
        command.add_argument("--logs", action="store_true")
        if name in {"install", "upgrade"}:
            _add_values(command)
    return parser


def _add_values(command: argparse.ArgumentParser) -> None:
    command.add_argument("chart")
    command.add_argument("--values", "-f", action="append", default=[])
    command.add_argument("--set", action="append", default=[])
    command.add_argument("--set-string", action="append", default=[])
    command.add_argument("--create-namespace", action="store_true")
    command.add_argument("--reset-then-reuse-values", action="store_true")
    command.add_argument("--install", action="store_true")


def _values(given: argparse.Namespace) -> Values:
    """Files first, then what the command line sets, the later ones on top."""
    values: Values = {}
    for path in given.values:
        values = _merged(values, values_from_yaml(Path(path).read_text()))
    for text in given.set:
        values = _merged(values, parse_set_string(text))
    for text in given.set_string:
        values = _merged(values, parse_set_string_values(text))
    return values


def _merged(base: Values, changes: Values) -> Values:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _exists(config: Config, name: str) -> bool:
    try:
        config.status(name)
    except HelmError:
        return False
    return True


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"not a duration: {text}")
    return int(found[1]) * _SECONDS[found[2]]


def _notes(release: Any) -> str:
    return str((release.get("info") or {}).get("notes") or release.get("notes") or "") + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
