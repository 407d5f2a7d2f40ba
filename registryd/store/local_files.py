"""Whether the kernel of this machine sees every change of a folder: it does not where another machine can write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# Of these, and of all that a program of its own brings (FUSE), inotify tells what this machine does and nothing else.
_REMOTE: Final = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs"),
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


def is_local(folder: Path, *, mounts: Path = _MOUNTS) -> bool:
    """What the table of mounts says of the folder's file system; one that it does not list is local (btrfs).

    Raises OSError. Blocks; the table has a line for each mount.
    """
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text(errors="replace").splitlines():
        mount, _, file_system = line.partition(" - ")
        if mount.split()[2] == number:
            kind = file_system.split()[0]
            return kind not in _REMOTE and not kind.startswith("fuse")
    return True
