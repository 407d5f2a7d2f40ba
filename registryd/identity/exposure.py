"""Telling the operator about secret files that are no secret."""

from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def warn_if_exposed(path: Path) -> None:
    """Warn when every user of the machine can read the file. A warning: in a container there may be no other user."""
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("%s can be read by every user of this machine: chmod o-r", path)
