"""Patterns of image names in settings: `ghcr.io/acme/*`, `*:latest`, `docker.io/nginx`.

A pattern that no name can match would exclude or block nothing, and nobody would notice: such a pattern is an error.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import Final, Self

from registryd.failures import SettingsError
from registryd.notation import DOCKER_HUB, canonical_registry

_EXPECTED: Final = "expected registry/repository:tag, in which an asterisk stands for any text"
# Which characters the parts of a name can have, and what stands for others.
_WILD: Final = r"*?\[\]!"
_REPOSITORY: Final = re.compile(rf"[a-z0-9._/{_WILD}-]+", re.ASCII)
_TAG: Final = re.compile(rf"[A-Za-z0-9._{_WILD}-]+", re.ASCII)
_DIGEST: Final = re.compile(rf"[a-z0-9:{_WILD}-]+", re.ASCII)
_WITHOUT_HOST: Final = re.compile(rf"[A-Za-z0-9._:{_WILD}-]*[*?\[][A-Za-z0-9._:@{_WILD}-]*", re.ASCII)
# A registry's name, written in full; where the host is a pattern itself.
_DEFAULT_PORT: Final = re.compile(r":0*443$")
_ZEROS: Final = re.compile(r":0+(?=[0-9])")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern of `registry/repository`, `…:tag` or `…@digest`. Registries are one, however they are written."""

    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what matches no name."""
        host, slash, rest = text.partition("/")
        texts = _with_registry(text, host, rest) if slash else (_anywhere(text),)
        return cls(re.compile("|".join(map(translate, texts))))

    def matches(self, *names: str) -> bool:
        """Whether it matches one of these in full: an image's name, and perhaps its repository's.

        The names have the registry as `canonical_registry` has it.
        """
        return any(self.expression.match(name) for name in names)


def require_patterns(key: str, texts: Iterable[str]) -> None:
    """Raises SettingsError, in the name of the setting, for a pattern that matches no name."""
    try:
        for text in texts:
            NamePattern.parse(text)
    except ValueError as error:
        raise SettingsError(key, str(error)) from error


def _anywhere(text: str) -> str:
    if not _WITHOUT_HOST.fullmatch(text):
        raise _matches_nothing(text, _EXPECTED)
    return text


def _with_registry(text: str, host: str, rest: str) -> tuple[str, ...]:
    named, at, digest = rest.partition("@")
    path, colon, tag = named.partition(":")
    is_name = _REPOSITORY.fullmatch(path) and not path.startswith("/") and not path.endswith("/") and "//" not in path
    if not is_name or (colon and not _TAG.fullmatch(tag)) or (at and not _DIGEST.fullmatch(digest)):
        raise _matches_nothing(text, _EXPECTED)
    written = _host_in_full(text, host)
    # Docker Hub's own images are in `library`, which people leave out.
    is_hubs_own = written == DOCKER_HUB and "/" not in path
    # The brackets of an IPv6 address would be a set of characters.
    start = f"{written.replace('[', '[[]') if written.startswith('[') else written}/"
    return (f"{start}{rest}", f"{start}library/{rest}") if is_hubs_own else (f"{start}{rest}",)


def _host_in_full(text: str, host: str) -> str:
    try:
        written = canonical_registry(host)
    except ValueError:
        if re.search(rf"[^A-Za-z0-9._:{_WILD}-]", host) or not re.search(r"[*?\[]", host):
            raise _matches_nothing(text, _EXPECTED) from None
        return _ZEROS.sub(":", _DEFAULT_PORT.sub("", host.lower()))
    if not ("." in host or ":" in host or written == "localhost"):
        raise _matches_nothing(text, f"name the registry, as in {DOCKER_HUB}/{text}"[:200])
    return written


def _matches_nothing(text: str, remedy: str) -> ValueError:
    return ValueError(f"{text[:100]!r} matches no image: {remedy}")
