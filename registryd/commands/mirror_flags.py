"""What `install` and `talos` have in common."""

from collections.abc import Iterable

from registryd.oci.errors import OciError
from registryd.oci.reference import Registry
from registryd.settings import SettingsError


def registries_of(texts: Iterable[str]) -> tuple[Registry, ...]:
    """Names, one by one or with commas between them. Raises SettingsError."""
    try:
        return tuple(Registry.parse(name) for text in texts for name in text.split(",") if name)
    except OciError as error:
        raise SettingsError("--registries", str(error)) from error
