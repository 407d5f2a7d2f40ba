"""Which registryd this is."""

from importlib import metadata


def installed_version() -> str:
    """The version of the installed distribution, which pyproject.toml is the only place to state."""
    return metadata.version("registryd")
