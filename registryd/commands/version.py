"""`registryd version`."""

import sys

from registryd.version import installed_version


def print_version() -> None:
    """Print the version."""
    sys.stdout.write(f"{installed_version()}\n")
