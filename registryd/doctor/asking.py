"""Asking over HTTP on this machine: the agent's admin port and its registry, or another program on these ports."""

from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registryd.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.notation import Address

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to recognise, not to listen on
# Of an answer: more than any status of a node, less than what would hurt.
_MOST_BYTES = 16 << 20


class Unanswered(Exception):
    """No program answered, or the answer made no sense; the message says how."""


class NotConnected(Unanswered):
    """No program accepted the connection. `is_refused`: the system said at once that none listens there."""

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """`server` is the name that the answering program gives itself."""

    status: int
    body: bytes
    server: str = ""

    def json(self) -> dict[str, Any]:
        """Raises Unanswered."""
        try:
            document = parse_json(self.body)
        except ValueError as error:
            raise Unanswered("the answer is not JSON: is that registryd?") from error
        if not isinstance(document, dict):
            raise Unanswered("the answer is not an object: is that registryd?")
        return document


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    timeout: float = 3.0


async def ask(listen: Address, question: Question) -> EndpointAnswer:
    """Ask what listens at an address of this machine. Raises Unanswered."""
    return await asyncio.to_thread(ask_and_wait, listen, question)


async def ask_json(
    listen: Address, path: str, *, timeout: float = 3.0, post: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A document of the agent's. Raises Unanswered, also for an answer that is none."""
    question = Question(path, timeout=timeout)
    if post is not None:
        headers = (("Content-Type", "application/json"),)
        question = Question(path, "POST", headers, json.dumps(post).encode(), timeout)
    answer = await ask(listen, question)
    if answer.status != http.HTTPStatus.OK:
        said = answer.body[:200].decode(errors="replace").strip()
        raise Unanswered(f"{path} is answered with {answer.status}: {said}")
    return answer.json()


def ask_and_wait(listen: Address, question: Question) -> EndpointAnswer:
    """The same for whom there is no event loop."""
    host = _EVERYWHERE.get(listen.host, listen.host)
    connection = http.client.HTTPConnection(host, listen.port, timeout=question.timeout)
    try:
        _connect(connection, question)
        connection.request(question.method, question.path, question.body or None, dict(question.headers))
        answer = connection.getresponse()
        return EndpointAnswer(answer.status, answer.read(_MOST_BYTES), answer.getheader("Server", ""))
    except TimeoutError as error:
        raise Unanswered(f"no answer within {question.timeout:g} s") from error
    except OSError as error:
        raise Unanswered(error.strerror or str(error)) from error
    except http.client.HTTPException as error:
        raise Unanswered(f"not HTTP: {error!r}"[:200]) from error
    finally:
        connection.close()


def _connect(connection: http.client.HTTPConnection, question: Question) -> None:
    try:
        connection.connect()
    except TimeoutError as error:
        raise NotConnected(f"no connection within {question.timeout:g} s") from error
    except OSError as error:
        is_refused = isinstance(error, ConnectionRefusedError)
        raise NotConnected(error.strerror or str(error), is_refused=is_refused) from error
