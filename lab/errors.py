"""What can go wrong in the lab, as far as its users tell it apart."""

from __future__ import annotations


class LabError(Exception):
    """Something in the lab did not do what it was told; the message carries the program's own words."""


class UnavailableError(LabError):
    """This machine lacks something; the message is the one line that a person is told instead of a result."""


class CommandError(LabError):
    """A command that should run to its end exited with an error."""

    def __init__(self, command: str, status: int, said: str) -> None:
        super().__init__(f"{command}: exit {status}: {said}")
        self.said = said  # the end of what it wrote


class ProcessDiedError(LabError):
    """A program that should keep running has exited; the message ends with the tail of its log."""


class NotReadyError(LabError):
    """A program is alive but did not become ready in time; the message ends with the tail of its log."""


class PullError(LabError):
    """containerd could not pull an image; the message is containerd's own."""
