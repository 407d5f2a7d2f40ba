"""Failures between the agent and the API server."""

from __future__ import annotations


class NotInCluster(Exception):
    """This process has no service account: it does not run in a pod, or its pod mounts no token."""


class ApiFailed(Exception):
    """The API server did not answer, refused, or said what makes no sense; it may be asked again later."""

    def __init__(self, reason: str, *, retry_after: float = 0.0) -> None:
        """`retry_after`: seconds for which the server wants to be left alone."""
        super().__init__(reason)
        self.retry_after = retry_after


class VersionExpired(Exception):
    """The server no longer knows what changed since this version (410 Gone): only a new list can tell."""
