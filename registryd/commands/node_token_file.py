"""The token of a node whose files may be mounted somewhere else, for the set-up to write."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.identity.node_token import ensure_token, read_token
from registryd.node.intent import TokenFile

if TYPE_CHECKING:
    from registryd.node.host_root import HostRoot


def node_token(root: HostRoot, path: Path) -> tuple[str, TokenFile]:
    """The token that the file has, or will have once the set-up has written it. Raises SecretInvalid."""
    here = root.locate(path)
    if here.exists():
        return read_token(here), TokenFile(path, here.read_text())
    # The set-up writes the file itself, so that it is in the record and goes with an uninstall.
    with tempfile.TemporaryDirectory() as folder:
        token = ensure_token(Path(folder, "token"))
    return token, TokenFile(path, f"{token}\n")
