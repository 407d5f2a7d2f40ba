"""Reasons why a node cannot be set up; every text is for the operator and says what to do."""

from __future__ import annotations


class NodeError(Exception):
    """The node was left as it was."""


class CannotMerge(NodeError):
    """A file is written in a way that leaves no place for our entry; it is not touched."""


class CannotUse(NodeError):
    """A file that containerd would be told to use is not what it should be."""


class ConfigConflict(NodeError):
    """containerd's own configuration rules out registryd's entry; the operator has to decide."""


class UnsupportedNode(NodeError):
    """A node that is set up in another way."""


class OfAnother(NodeError):
    """Another release of the chart has set the node up."""


class PathProblem(NodeError):
    """A path leads nowhere that we may write to."""


class NotAFile(PathProblem):
    """A folder, a pipe or a device has the name of a file."""


class RecordBroken(NodeError):
    """The record of what was there cannot be read; without it nothing can be put back."""


class ApplyFailed(NodeError):
    """A change could not be made, and those before it have been taken back (or the text says which were not)."""


class ContainerdRefused(NodeError):
    """containerd does not take the changed configuration, so it was changed back."""


class RefusedAfterRestart(ContainerdRefused):
    """containerd was restarted before it refused the change, or did not come back: it needs another restart."""


def reason_of(error: OSError) -> str:
    """Why a file cannot be used, with what to do where that is plain."""
    reason = error.strerror or str(error)
    return f"{reason}; run this as root" if isinstance(error, PermissionError) else reason
