"""A registry that answers as a table says (`lab.odd_answers`): a row is a repository's first part.

A program of its own: `python -m lab.odd_registry HOST:PORT FOLDER`. The folder has image layouts at
`<row>/<name>`. It answers on all addresses of the machine, and calls itself HOST:PORT. Every request is a line on
standard output: method, target, status, and the user name of a login that came with it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import socketserver
import struct
import sys
from collections import Counter
from http import HTTPStatus
from http.client import HTTPMessage, parse_headers
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from lab.layout import Layout
from lab.odd_answers import ROWS, Answer, Framing, Question

_PATHS: Final = (
    re.compile(r"/v2/(?P<row>[^/]+)/(?P<name>[^/]+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)"),
    re.compile(r"/(?P<kind>elsewhere)/(?P<row>[^/]+)/(?P<hop>[0-9]+)/(?P<reference>[^/]+)"),
    re.compile(r"/(?P<kind>token)/(?P<row>[^/]+)/(?P<hop>[0-9]+)"),
)
_RANGE: Final = re.compile(r"bytes=(?P<start>[0-9]+)-(?P<last>[0-9]*)")
_CHUNK: Final = 16 * 1024
# With this, closing a connection resets it.
_NO_LINGERING: Final = struct.pack("ii", 1, 0)


class Content:
    """The layouts of a folder: blobs by digest, what tags mean."""

    def __init__(self, folder: Path) -> None:
        self.tags: dict[tuple[str, str, str], str] = {}
        self.types: dict[str, str] = {}
        self._layouts: dict[str, Layout] = {}
        for place in sorted(folder.glob("*/*")):
            layout = Layout(place)
            for path in place.glob("blobs/sha256/*"):
                self._layouts[f"sha256:{path.name}"] = layout
            for entry in json.loads((place / "index.json").read_text())["manifests"]:
                (tag,) = entry["annotations"].values()
                self.tags[place.parent.name, place.name, tag] = entry["digest"]
                self._take(layout, entry)

    def _take(self, layout: Layout, entry: dict[str, str]) -> None:
        self.types[entry["digest"]] = entry["mediaType"]
        for child in layout.read_document(entry["digest"]).get("manifests", ()):
            self._take(layout, child)

    def read(self, digest: str) -> bytes | None:
        layout = self._layouts.get(digest)
        return layout.read(digest) if layout else None


class OddRegistry(socketserver.ThreadingTCPServer):
    """Answers until its process ends."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, content: Content) -> None:
        self.here = address
        self.content = content
        self.rows = {row.name: row for row in ROWS}
        self.asked: Counter[tuple[str, str, str, str]] = Counter()
        super().__init__(("", int(address.rpartition(":")[2])), _Connection)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Tell of what goes wrong here; a client may hang up in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, question: Question, name: str) -> Answer:
        """The right answer, twisted as the row says."""
        answer = self._right(question, name)
        for twist in self.rows[question.row].twists if question.row in self.rows else ():
            twist(question, answer)
        return answer

    def _right(self, question: Question, name: str) -> Answer:
        digest = self.content.tags.get((question.row, name, question.reference), question.reference)
        data = self.content.read(digest)
        if data is None:
            return Answer(404, b'{"errors": [{"code": "NOT_FOUND"}]}', headers={"Content-Type": "application/json"})
        if question.kind == "manifests":
            headers = {"Content-Type": self.content.types.get(digest, ""), "Docker-Content-Digest": digest}
            return Answer(200, data, headers=headers)
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        found = _RANGE.fullmatch(question.range)
        if not found:
            return Answer(200, data, data, headers)
        start, last = int(found["start"]), min(int(found["last"] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
        return Answer(206, data[start : last + 1], data, headers)


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Answer a request; whether another may come."""
        line = self.rfile.readline(8192).decode("latin-1")
        if not line.strip():
            return False
        method, _, rest = line.partition(" ")
        target = rest.rpartition(" ")[0]  # in which Go's client leaves the blanks of a Location's query
        headers = parse_headers(self.rfile)
        registry = cast("OddRegistry", self.server)
        answer = _answer(registry, method, target, headers)
        sys.stdout.write(f"{method} {target} {answer.status} {_user(headers)}\n")
        sys.stdout.flush()
        self._send(answer, is_head=method == "HEAD")
        return not self._ends(answer) and headers.get("Connection", "").lower() != "close"

    @staticmethod
    def _ends(answer: Answer) -> bool:
        is_open_ended = answer.framing in {Framing.CLOSE, Framing.HTTP10}
        return answer.closes or answer.cut is not None or is_open_ended

    def _send(self, answer: Answer, *, is_head: bool) -> None:
        headers = dict(answer.headers)
        match answer.framing:
            case Framing.CHUNKED:
                headers["Transfer-Encoding"] = "chunked"
            case Framing.CLOSE:
                headers["Connection"] = "close"
            case Framing.LENGTH if answer.says_length:
                headers["Content-Length"] = str(len(answer.body) + answer.says_more)
        version = "1.0" if answer.framing is Framing.HTTP10 else "1.1"
        lines = [f"HTTP/{version} {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if answer.head_has_body or not is_head:
            self._send_body(answer)
        if answer.resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
            os.close(self.connection.detach())  # the server would shut it down in order

    def _send_body(self, answer: Answer) -> None:
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        if answer.framing is not Framing.CHUNKED:
            self.wfile.write(body)
            return
        for begin in range(0, len(body), _CHUNK):
            piece = body[begin : begin + _CHUNK]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if answer.cut is None:
            self.wfile.write(b"0\r\n\r\n")


def _answer(registry: OddRegistry, method: str, target: str, headers: HTTPMessage) -> Answer:
    path = urlsplit(target).path
    found = next((match for pattern in _PATHS if (match := pattern.fullmatch(path))), None)
    if found is None:
        return Answer(200 if path == "/v2/" else 404, b"{}", headers={"Content-Type": "application/json"})
    parts = found.groupdict()
    key = (method, parts["kind"], parts["row"], parts.get("reference") or "")
    question = Question(
        method=method,
        kind=parts["kind"],
        row=parts["row"],
        reference=key[-1],
        range=headers.get("Range", ""),
        token=headers.get("Authorization", ""),
        before=registry.asked[key],
        hop=int(parts.get("hop") or 0),
        here=registry.here,
    )
    registry.asked[key] += 1
    return registry.answer(question, parts.get("name") or "")


def _user(headers: HTTPMessage) -> str:
    """Who logs in, or `-`: for the tests of who is shown a login."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return base64.b64decode(value).decode().partition(":")[0] if scheme == "Basic" else "-"


if __name__ == "__main__":
    OddRegistry(sys.argv[1], Content(Path(sys.argv[2]))).serve_forever()
