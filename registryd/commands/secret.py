"""`registryd secret new`."""

import sys
from typing import Literal

from registryd.identity.secret import new_secret


def print_secret(action: Literal["new"], /) -> None:  # noqa: ARG001 - there is only one
    """Print a new cluster secret. Keep it in the peers.secret_file of every node, and nowhere else."""
    sys.stdout.write(f"{new_secret()}\n")
