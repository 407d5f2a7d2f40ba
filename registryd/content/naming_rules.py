"""The settings on names: how the images of a registry are authorised, and which names registryd leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.agent import AuthorizationMode
from registryd.config.name_patterns import NamePattern
from registryd.failures import SettingsError
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry, Tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.config.agent import AuthorizationSettings
    from registryd.oci.reference import Reference, Repository


class NamingRules:
    """Registries are one however they are written, in patterns, too (`registryd.config.name_patterns`)."""

    def __init__(self, settings: AuthorizationSettings) -> None:
        """Raises SettingsError for a registry that is none, or that is named twice with different modes."""
        self._default = settings.mode
        self._modes = _modes(settings.registries)
        self._excluded = [NamePattern.parse(text) for text in settings.exclude]

    def mode(self, registry: Registry) -> AuthorizationMode:
        return self._modes.get(registry, self._default)

    @property
    def has_open(self) -> bool:
        """Whether there are registries of mode open."""
        return AuthorizationMode.OPEN in {self._default, *self._modes.values()}

    def excludes(self, repository: Repository, reference: Reference | None = None) -> bool:
        """Whether the repository is left to the upstream, or its tag is."""
        names = [str(repository), *([f"{repository}:{reference}"] if isinstance(reference, Tag) else [])]
        return any(pattern.matches(*names) for pattern in self._excluded)


def _modes(named: Mapping[str, AuthorizationMode]) -> Mapping[Registry, AuthorizationMode]:
    modes: dict[Registry, AuthorizationMode] = {}
    for name, mode in named.items():
        try:
            registry = Registry(name)
        except NameInvalid as error:
            raise SettingsError("authorization.registries", str(error)) from error
        if modes.setdefault(registry, mode) is not mode:
            raise SettingsError("authorization.registries", f"{registry} is there twice, as {name} and otherwise")
    return modes
