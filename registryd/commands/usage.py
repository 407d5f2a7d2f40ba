"""Errors of a command line, in one line that names the wrong word and the accepted ones."""

from collections.abc import Iterable

from cyclopts import Token
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from registryd.config.loader import nearest


def explain(error: CycloptsError, *, commands: Iterable[str]) -> str:
    """The line for an error of the parser; `commands` are the names of those that there are."""
    match error:
        case UnknownCommandError(unused_tokens=[name, *_]):
            # cyclopts' own message would import every command.
            advice = _advice(name, commands, otherwise=f"there are {', '.join(commands)}")
            return f"there is no command {name!r}; {advice}"
        case UnknownOptionError(token=token, argument_collection=known):
            flag = token.keyword or token.value
            names = [name for argument in known for name in argument.names]
            return f"there is no flag {flag!r}; {_advice(flag, names, otherwise='--help lists them')}"
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"there is no place for {word!r} here"
        case CoercionError(token=Token(keyword=flag, value=value), target_type=kind) if kind is bool:
            return f"{flag}: expected true or false, or no value at all; got {value!r}"
        case _:
            return str(error)


def _advice(name: str, known: Iterable[str], *, otherwise: str) -> str:
    meant = nearest(name, known)
    return f"did you mean {meant}?" if meant else otherwise
