"""Ways in which registries, and what stands before them, answer otherwise than one would think: a table.

Each was seen at a registry, a cloud's storage or a proxy. What containerd takes of them, a cache has to take as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN: Final = "Bearer opens-it"
_MANY_HOPS: Final = 8


class Framing(Enum):
    """How the end of a body is told."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "the connection's end"
    HTTP10 = "the connection's end, as HTTP/1.0 has it"


@dataclass
class Answer:
    """What is going to be sent. `cut`: only so many bytes of the body, then the connection ends, or is reset.

    `whole` is the content of which a range was asked for. `says_more`: the length that is said is larger by so much.
    `head_has_body`: a HEAD gets the body, too.
    """

    status: int
    body: bytes = b""
    whole: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    framing: Framing = Framing.LENGTH
    cut: int | None = None
    resets: bool = False
    closes: bool = False
    says_length: bool = True
    says_more: int = 0
    head_has_body: bool = False


@dataclass(frozen=True)
class Question:
    """What was asked: `kind` is manifests, blobs, elsewhere or token, `range` the Range header.

    `before`: so often the same was asked before. `hop` counts redirects that were followed. `here` is our host:port.
    """

    method: str
    kind: str
    row: str
    reference: str
    range: str
    token: str
    before: int
    hop: int
    here: str

    @property
    def is_blob(self) -> bool:
        return self.kind in {"blobs", "elsewhere"} and self.method == "GET"

    @property
    def is_head(self) -> bool:
        return self.kind == "manifests" and self.method == "HEAD"


Twist: TypeAlias = "Callable[[Question, Answer], None]"


# Bodies


def _framed(framing: Framing) -> Twist:
    def twist(question: Question, answer: Answer) -> None:
        if question.is_blob:
            answer.framing = framing

    return twist


def _cut_once(question: Question, answer: Answer) -> None:
    if question.is_blob and question.before == 0:
        answer.cut = len(answer.body) // 2


def _reset_once(question: Question, answer: Answer) -> None:
    _cut_once(question, answer)
    answer.resets = answer.cut is not None


def _page_once(question: Question, answer: Answer) -> None:
    if question.is_blob and question.before == 0:
        answer.status, answer.body = 200, b"<html><body>Please wait.</body></html>"
        answer.headers = {"Content-Type": "text/html; charset=utf-8"}


def _says_more(question: Question, answer: Answer) -> None:
    if question.is_blob:
        answer.says_more = 1000
        answer.cut = len(answer.body)


def _hangs_up(_: Question, answer: Answer) -> None:
    """Without a word: the next request on the same connection finds it closed."""
    answer.closes = True


# Ranges


def _refuses_open_ranges(question: Question, answer: Answer) -> None:
    if question.range.endswith("-"):
        answer.status, answer.body, answer.headers = 416, b"", {}


def _ignores_ranges(question: Question, answer: Answer) -> None:
    if question.is_blob and question.range:
        answer.status, answer.body = 200, answer.whole
        answer.headers.pop("Content-Range", None)


def _does_not_say_the_total(_: Question, answer: Answer) -> None:
    if said := answer.headers.get("Content-Range"):
        answer.headers["Content-Range"] = f"{said.partition('/')[0]}/*"


# Manifests


def _head_without_length(question: Question, answer: Answer) -> None:
    if question.is_head:
        answer.says_length = False


def _head_of_nothing(question: Question, answer: Answer) -> None:
    if question.is_head:
        answer.body = b""


def _head_without_type(question: Question, answer: Answer) -> None:
    if question.is_head:
        answer.headers.pop("Content-Type", None)


def _head_of_another_type(question: Question, answer: Answer) -> None:
    if question.is_head:
        answer.headers["Content-Type"] = "application/json"


def _no_head(question: Question, answer: Answer) -> None:
    if question.method == "HEAD":
        answer.status, answer.headers = 405, {"Allow": "GET"}


def _head_with_body(_: Question, answer: Answer) -> None:
    answer.head_has_body = True


def _no_digest(_: Question, answer: Answer) -> None:
    answer.headers.pop("Docker-Content-Digest", None)


def _type_with_parameters(question: Question, answer: Answer) -> None:
    if question.kind == "manifests" and "Content-Type" in answer.headers:
        answer.headers["Content-Type"] += "; charset=utf-8"


# Redirects


def _led(location: str, *, hops: int = 1, status: int = 307, heads: bool = False) -> Twist:
    """To this place; `{here}` is our host:port, `{port}` its port, `{path}` where the blob is."""

    def twist(question: Question, answer: Answer) -> None:
        methods = {"GET", "HEAD"} if heads else {"GET"}
        if question.kind in {"blobs", "elsewhere"} and question.method in methods and question.hop < hops:
            path = f"elsewhere/{question.row}/{question.hop + 1}/{question.reference}"
            port = question.here.rpartition(":")[2]
            answer.status, answer.body = status, b""
            answer.headers = {"Location": location.format(here=question.here, port=port, path=path)}

    return twist


# Tokens


def _token(answers: dict[str, object], *, realm: str = "http://{here}/token", hops: int = 0) -> Twist:
    """A token server that gives these answers at `realm`, after so many redirects."""

    def twist(question: Question, answer: Answer) -> None:
        if question.kind == "token":
            _give_token(question, answer)
        elif question.kind in {"manifests", "blobs"} and question.token != _OPEN:
            where = f"{realm.format(here=question.here)}/{question.row}/0"
            scope = f"repository:{question.row}/app:pull"
            answer.status, answer.body = 401, b""
            answer.headers = {"WWW-Authenticate": f'Bearer realm="{where}",service="odd",scope="{scope}"'}

    def _give_token(question: Question, answer: Answer) -> None:
        if question.hop < hops:
            answer.status, answer.headers = 302, {"Location": f"/token/{question.row}/{question.hop + 1}"}
        else:
            answer.status, answer.headers = 200, {"Content-Type": "application/json"}
            answer.body = json.dumps(answers).encode()

    return twist


_OPENS: Final = "opens-it"
_USUAL: Final[dict[str, object]] = {"token": _OPENS, "expires_in": 300}


# The table


@dataclass(frozen=True)
class Row:
    """One way. `direct`: whether containerd 2.3 and 2.4 themselves pull an image there, at the first try."""

    name: str
    twists: tuple[Twist, ...]
    direct: bool = True


def _row(name: str, *twists: Twist, direct: bool = True) -> Row:
    return Row(name, twists, direct)


ROWS: Final[tuple[Row, ...]] = (
    _row("as-it-should"),
    # Proxies and clouds in front of registries
    _row("blobs-chunked", _framed(Framing.CHUNKED)),
    _row("blobs-until-close", _framed(Framing.CLOSE)),
    _row("blobs-http10", _framed(Framing.HTTP10)),
    _row("hangs-up", _hangs_up),
    _row("page-once", _page_once, direct=False),
    _row("cut-once", _cut_once),
    _row("reset-once", _reset_once, direct=False),
    _row("cut-once-chunked", _framed(Framing.CHUNKED), _cut_once),
    _row("cut-once-until-close", _framed(Framing.CLOSE), _cut_once, direct=False),
    _row("length-too-large", _says_more),
    # go-containerregistry's registry
    _row("no-open-ranges", _refuses_open_ranges),
    _row("no-open-ranges-cut-once", _refuses_open_ranges, _cut_once, direct=False),
    _row("no-ranges-cut-once", _ignores_ranges, _cut_once),
    _row("unknown-total-cut-once", _does_not_say_the_total, _cut_once),
    # HEADs of manifests
    _row("head-without-length", _head_without_length),
    _row("head-of-nothing", _head_of_nothing, direct=False),
    _row("head-without-type", _head_without_type, direct=False),
    _row("head-of-another-type", _head_of_another_type, direct=False),
    _row("head-refused", _no_head),
    _row("head-with-body", _head_with_body),
    _row("no-digest", _no_digest),
    _row("head-says-nothing", _head_without_length, _head_without_type, _no_digest),
    _row("type-with-parameters", _type_with_parameters),
    # Storage of clouds, Google's Artifact Registry, pulp
    _row("redirect-absolute", _led("http://{here}/{path}")),
    _row("redirect-path", _led("/{path}")),
    _row("redirect-relative", _led("../../../../{path}")),
    _row("redirect-scheme-relative", _led("//{here}/{path}")),
    _row("redirect-blank", _led("http://{here}/{path}?name=a file&x=1")),
    _row("redirect-many", _led("/{path}", hops=_MANY_HOPS)),
    _row("redirect-heads", _led("/{path}", heads=True)),
    _row("redirect-301", _led("/{path}", status=301)),
    _row("redirect-302", _led("/{path}", status=302)),
    _row("redirect-303", _led("/{path}", status=303)),
    _row("redirect-308", _led("/{path}", status=308)),
    _row("redirect-loopback", _led("http://127.0.0.1:{port}/{path}")),
    # trow, olareg, and token servers behind proxies
    _row("access-token-only", _token({"access_token": _OPENS, "expires_in": 300})),
    _row("token-only", _token({"token": _OPENS})),
    _row("expires-at-once", _token({"token": _OPENS, "expires_in": 0})),
    _row("expires-in-nanoseconds", _token({"token": _OPENS, "expires_in": 300_000_000_000})),
    _row("token-redirected", _token(_USUAL, hops=1)),
    _row("realm-relative", _token(_USUAL, realm="/token"), direct=False),
)
