"""When the containerd that runs has started: what it reads only then, it has read at that time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.facts import NodeFacts
    from registryd.node.host_root import HostRoot

_CHANGES = Mask.CREATE | Mask.MOVED_TO | Mask.ATTRIB | Mask.ONLYDIR


def has_started_since(root: HostRoot, facts: NodeFacts, moment: float) -> bool:
    """Whether the containerd of the facts has read its configuration after a moment, in seconds of the clock.

    By its socket, which it makes anew at each start: its time is of the same clock as those of files, whatever has
    become of that clock since, and can be seen from a container that sees no process. False where there is none.
    """
    return changed_at(root, facts.socket) > moment


def wait_started_since(root: HostRoot, facts: NodeFacts, moment: float, *, patience: float) -> bool:
    """Whether it has, within so many seconds; blocks until the kernel tells of its socket."""
    if has_started_since(root, facts, moment):
        return True
    ends_at = time.monotonic() + patience
    with suppress(OSError), Inotify(sync_timeout=patience) as inotify:
        while time.monotonic() < ends_at:
            inotify.add_watch(root.locate(facts.socket).parent, _CHANGES)
            if has_started_since(root, facts, moment):
                break
            inotify.sync_timeout = max(0.0, ends_at - time.monotonic())
            inotify.sync_get()
    return has_started_since(root, facts, moment)


def changed_at(root: HostRoot, path: Path) -> float:
    """When a file of the node was written last; 0 when there is none."""
    try:
        return root.locate(path).stat().st_mtime
    except OSError:
        return 0
