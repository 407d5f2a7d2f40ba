"""The reference of settings and of metrics, in Markdown, from the code that reads and shows them."""

from __future__ import annotations

import re
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from registryd.caching.metrics import CacheMetrics
from registryd.config.options import all_options
from registryd.observability.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.config.options import Option

_FAMILY: Final = re.compile(r"# HELP (?P<name>\S+) (?P<help>.*)\n# TYPE \S+ (?P<type>\S+)\n")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# What belongs to the text format, not to a family.
_LE: Final = "le"
_VERSION: Final = "version"
_MADE: Final = "<!-- made by `./dev reference`; change the code instead -->"


def settings() -> str:
    """All settings of agent and cache by section: flag, variable, default, and what `--help` says."""
    return "\n".join(_settings()) + "\n"


def metrics() -> str:
    """All families of an agent's and a cache's /metrics: type, labels with their values, and what they count."""
    return "\n".join(_metrics()) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {"settings.md": settings, "metrics.md": metrics}


def _settings() -> Iterator[str]:
    yield from ("# Settings", "", _MADE, "")
    yield "A setting is a key of the TOML file that `--config` names (`[peers]`, `fetch_wait = 10`), a flag of"
    yield "`registryd agent` or `registryd cache`, or a variable of the environment. A flag goes before a variable, and"
    yield "a variable before the file."
    for section, options in groupby(all_options().values(), key=attrgetter("section")):
        yield from ("", f"## {section}", "")
        for option in options:
            yield from _setting(option)


def _setting(option: Option) -> Iterator[str]:
    shown = option.show(option.default)
    default = f"`{shown}`" if shown else "empty"
    yield f"### `{option.key}`"
    yield ""
    yield option.help
    yield ""
    yield f"`{option.flag}` · `{option.variable}` · {option.accepts} · default: {default}"
    yield ""


def _metrics() -> Iterator[str]:
    yield from ("# Metrics", "", _MADE, "")
    yield "`/metrics` on the admin address (`admin.listen`), in Prometheus' text format. No label has values that grow"
    yield "with use: no repository, digest, peer or client is one. Formulas and alerts: [operations.md](operations.md)."
    agent = Metrics()
    yield from ("", "## Metrics of every agent and cache", "")
    yield from _families(agent.render().decode())
    known = set(_FAMILY.findall(agent.render().decode()))
    CacheMetrics(agent.page)
    yield from ("", "## Further metrics of a cache", "")
    yield from (line for line in _families(agent.render().decode(), without={name for name, _, _ in known}))


def _families(page: str, *, without: set[str] | None = None) -> Iterator[str]:
    yield from ("| metric | type | labels | what it is |", "| --- | --- | --- | --- |")
    for family in _FAMILY.finditer(page):
        if family["name"] not in (without or ()):
            labels = _labels(page, family["name"])
            said = "; ".join(_said(label, values) for label, values in labels.items())
            yield f"| `{family['name']}` | {family['type']} | {said} | {family['help']} |"


def _said(label: str, values: list[str]) -> str:
    if label == _VERSION:  # another one with each release
        return f"`{label}`"
    return f"`{label}`: " + ", ".join(f"`{value}`" for value in values)


def _labels(page: str, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in page.splitlines():
        sample = line.partition(" ")[0]
        if re.fullmatch(rf"{name}(?:_bucket|_sum|_count)?", sample.partition("{")[0]):
            for label, value in _LABEL.findall(sample):
                if label != _LE and value not in found.setdefault(label, []):
                    found[label].append(value)
    return found
