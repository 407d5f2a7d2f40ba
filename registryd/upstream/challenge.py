"""The challenges of a 401: WWW-Authenticate (RFC 9110 section 11), of which registries use Bearer and Basic.

The header comes from a foreign server. So it is read within bounds and in linear time, and nonsense is left out. A
challenge that cannot be answered counts as absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.upstream.addresses import resolve_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from yarl import URL

# Registries send one or two challenges of three parameters. The longest realms and scopes are some hundred characters:
# a repository's name has at most 255, and a realm has to fit into a request line (8000 octets, RFC 9110 section 4.1).
_MAX_HEADER: Final = 8192
_MAX_CHALLENGES: Final = 8
_MAX_PARAMETERS: Final = 16
_MAX_VALUE: Final = 2048

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for it
_GAP: Final = re.compile(r"[ \t,]*")
# Values that should be quoted and are not (URLs) are accepted, as others do.
_PARAMETER: Final = re.compile(
    rf'(?P<name>{_TOKEN})[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t",=][^ \t",]*))'
)
_SCHEME: Final = re.compile(rf"(?P<scheme>{_TOKEN})(?=[ \t,]|$)(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$)))?")
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password are asked for."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token is asked for, which the realm gives out for this service and these scopes (distribution, token auth)."""

    realm: URL
    service: str = ""
    scopes: tuple[str, ...] = ()


Challenge = Basic | Bearer


def parse_challenges(headers: Iterable[str], *, base: URL) -> tuple[Challenge, ...]:
    """Read all WWW-Authenticate headers of a reply: the challenges that are understood, in their order.

    `base` is what was asked, for realms that are relative to it.
    """
    found: list[Challenge] = []
    for header in headers:
        for scheme, parameters in _split(header[:_MAX_HEADER]):
            challenge = _understood(scheme, parameters, base)
            if challenge is not None and len(found) < _MAX_CHALLENGES:
                found.append(challenge)
    return tuple(found)


def _understood(scheme: str, parameters: Mapping[str, str], base: URL) -> Challenge | None:
    if scheme == "basic":
        return Basic()
    if scheme != "bearer":
        return None
    try:
        realm = resolve_address(base, parameters["realm"])
    except (ValueError, KeyError):
        return None
    return Bearer(realm, parameters.get("service", ""), tuple(parameters.get("scope", "").split()))


def _split(header: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Schemes in lower case with their parameters; ends at the first thing that is neither."""
    scheme, parameters = "", dict[str, str]()
    position = _end(_GAP.match(header))
    while found := _PARAMETER.match(header, position) or _SCHEME.match(header, position):
        if found.re is _PARAMETER:
            _keep(found, parameters)
        else:
            yield scheme, parameters
            scheme, parameters = found["scheme"].lower(), {}
        position = _end(_GAP.match(header, found.end()))
    yield scheme, parameters


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found else 0


def _keep(parameter: re.Match[str], parameters: dict[str, str]) -> None:
    name = parameter["name"].lower()
    value = parameter["plain"] if parameter["quoted"] is None else _ESCAPED.sub(r"\1", parameter["quoted"])
    # RFC 9110 section 11.2 allows a parameter once; the first one counts, as for header fields that must be single.
    if name not in parameters and len(parameters) < _MAX_PARAMETERS and len(value) <= _MAX_VALUE:
        parameters[name] = value
