"""What `install` and `talos` have in common: which registries, and where we are to be found."""

from collections.abc import Iterable

from registryd.notation import Address
from registryd.oci.errors import OciError
from registryd.oci.reference import Registry
from registryd.settings import SettingsError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to recognise, not to listen on


def endpoint_of(listen: Address) -> str:
    """The URL under which this node itself reaches what listens there."""
    return f"http://{Address(_EVERYWHERE.get(listen.host, listen.host), listen.port)}"


def registries_of(texts: Iterable[str]) -> tuple[Registry, ...]:
    """Names, one by one or with commas between them. Raises SettingsError."""
    try:
        return tuple(Registry.parse(name) for text in texts for name in text.split(",") if name)
    except OciError as error:
        raise SettingsError("--registries", str(error)) from error
