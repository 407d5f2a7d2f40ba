"""`registryd version`."""

import sys

from registryd.version import VERSION


def print_version() -> None:
    """Print the version."""
    sys.stdout.write(f"{VERSION}\n")
