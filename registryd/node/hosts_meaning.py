"""Whether containerd uses a hosts.toml at all: it silently ignores a file that it cannot read or understand.

With one mistake anywhere in the file, in the table of any host, containerd ignores the whole file. These mistakes were
seen on pulls of 1.6.20, 1.7.24, 2.1.9, 2.3.7 and 2.4.2. Keys that containerd does not know do no harm.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.node.release import Release

_CAPABILITIES: Final = frozenset({"pull", "resolve", "push"})
_REFERRERS: Final = "referrers"
# Go's time.ParseDuration.
_DURATION: Final = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
# Go's url.Parse, as far as people get it wrong: a blank in the host, a port that is no number, half an escape.
_URL: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[^\s/?#%\\^`{|}]*@)?(?:\[[^\]\s%]*(?:%25[^\]\s]*)?\]|[^\s/?#%\\^`{|}:@\[\]]*)(?::\d*)?"
    r"(?:[/#](?:[^?%\x00-\x1f\x7f]|%[0-9A-Fa-f]{2})*)?(?:\?[^\x00-\x1f\x7f]*)?"
)
# A host whose name begins like that, `httpd.lab`, is taken for a URL as it is: a path, or a scheme and the rest.
_BEGINS_LIKE_A_SCHEME: Final = re.compile(r"http(?:[A-Za-z0-9+.-]*:(?!//)[^\s%]*|[^:/?#\s%]*(?:[/?#][^\s%]*)?)")
_WITH_BRACKET: Final = re.compile(r"[ \t]*\[[ \t]*host[ \t]*\.[ \t]*([\"'])(?:(?!\1).)*[\[\]]", re.MULTILINE)


def ignored_because(data: bytes, release: Release) -> str | None:
    """Why this containerd ignores the file; None when it does not. Names the line where there is one."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        return f"it is not TOML: {error}"
    return next(_slips(text, document, release), None)


def _slips(text: str, document: dict[str, Any], release: Release) -> Iterator[str]:
    if not release.reads_brackets_in_names and (found := _WITH_BRACKET.search(text)):
        yield f"{release} reads no table whose name has a bracket, as IPv6 addresses have: {found[0].strip()}"
    server, hosts = document.get("server", ""), document.get("host", {})
    if not isinstance(server, str):
        yield "server is not a text"
    elif not isinstance(hosts, dict) or not all(isinstance(host, dict) for host in hosts.values()):
        yield "host is not a table of tables"
    else:
        yield from (f"{url!r} is not a URL" for url in (server, *hosts) if url and not _is_url(url))
        tables = {"": document} | {f'host."{url}".': host for url, host in hosts.items()}
        for table, settings in tables.items():
            yield from _wrong(table, settings, release)


def _is_url(text: str) -> bool:
    if _BEGINS_LIKE_A_SCHEME.fullmatch(text):
        return True
    return bool(_URL.fullmatch(text if text.startswith("http") else f"https://{text}"))


def _wrong(table: str, settings: dict[str, Any], release: Release) -> Iterator[str]:
    for key, value in settings.items():
        if key == "dial_timeout" and not release.reads_dial_timeout:
            continue
        if not _has_right_type(key, value):
            yield f"{table}{key} has the wrong type"
        elif key == "capabilities":
            known = _CAPABILITIES | ({_REFERRERS} if release.knows_referrers else frozenset())
            yield from (_unknown_capability(table, each, release) for each in value if each.lower() not in known)
        elif key == "dial_timeout" and value and not _DURATION.fullmatch(value):
            yield f'{table}dial_timeout is "{value}", not a time with its unit such as "1s"'


def _unknown_capability(table: str, capability: str, release: Release) -> str:
    if capability.lower() == _REFERRERS:
        return f'{table}capabilities has "{capability}", which {release} does not know (2.2 does)'
    return f'{table}capabilities has "{capability}", and there is no such capability'


def _has_right_type(key: str, value: Any) -> bool:
    if key == "header":
        return isinstance(value, dict) and all(_is_text(each) or _is_texts(each) for each in value.values())
    return _TYPES[key](value) if key in _TYPES else True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_client(value: Any) -> bool:
    return isinstance(value, str) or (_is_texts(value) and len(value) == 2)  # noqa: PLR2004 - certificate and key


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "override_path": lambda value: isinstance(value, bool),
    "skip_verify": lambda value: isinstance(value, bool),
    "capabilities": _is_texts,
    "dial_timeout": _is_text,
    "ca": lambda value: _is_text(value) or _is_texts(value),
    "client": lambda value: _is_text(value) or (isinstance(value, list) and all(map(_is_client, value))),
}
