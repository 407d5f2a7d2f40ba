"""What may go wrong in a way that the user, not a programmer, puts right."""

from __future__ import annotations

from typing import ClassVar


class CommandFailed(Exception):
    """A command cannot do what it was asked to; the text is all that the user needs to know.

    The program prints the text as one line on standard error, without a traceback, and exits with `exit_code`.
    Lower layers keep their own error types; translate them where the user's intention is known.
    """

    exit_code: ClassVar[int] = 1


class UsageError(CommandFailed):
    """The words of the command line are wrong; the text names the word and what would have been accepted."""

    exit_code: ClassVar[int] = 2


class SettingsError(CommandFailed):
    """A setting is unknown, malformed or contradicts another; the text names the key and says what to do."""

    exit_code: ClassVar[int] = 2

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem
