"""`registryd secret new`."""

import sys

from registryd.identity.secret import new_secret


def print_secret() -> None:
    """Print a new cluster secret, to be kept in peers.secret_file of every node and nowhere else."""
    sys.stdout.write(f"{new_secret()}\n")
