"""The node's file system, as seen from here: its root may be mounted somewhere else.

An init container sees the node below a mount, where a link to `/data/certs.d` must not lead into the container.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registryd.node.errors import PathProblem, reason_of

_MAX_LINKS = 40  # Linux' own limit (MAXSYMLINKS)


@dataclass(frozen=True, slots=True)
class HostRoot:
    """Where the node's `/` is. Paths "of the node" are absolute and never start with this one."""

    path: Path = Path("/")

    def locate(self, path: Path) -> Path:
        """Where a path of the node is here, its links followed as the node would follow them; it need not exist.

        Raises PathProblem when the links go in circles.
        """
        return self.path / self.canonical(path).relative_to("/")

    def canonical(self, path: Path) -> Path:
        """The path of the node without links, so that one file has one name."""
        todo = list(reversed(path.parts))
        done, links = Path("/"), 0
        while todo:
            part = todo.pop()
            target = self._link(done / part)
            if part in {"/", "."}:
                continue
            if part == "..":
                done = done.parent  # of the root: the root
            elif target is None:
                done /= part
            else:
                links += 1
                if links > _MAX_LINKS:
                    raise PathProblem(f"{path}: too many symbolic links")
                done = Path("/") if target.is_absolute() else done
                todo.extend(reversed(target.parts))
        return done

    def _link(self, path: Path) -> Path | None:
        here = self.path / path.relative_to("/")
        try:
            return here.readlink() if here.is_symlink() else None
        except OSError as error:
            raise PathProblem(f"{path}: {reason_of(error)}") from error
