"""A registry of somebody who has manifests and nothing else: what they name was never his.

A program of its own: `python -m e2e.strange_registry HOST:PORT FOLDER`. A file in FOLDER is served under its name as
a tag, in whatever repository, and by its digest; so are the files in FOLDER/blobs/sha256. HEAD of any other manifest is
answered with yes: it costs the owner nothing to say so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        *_, kind, reference = urlsplit(self.path).path.split("/")
        data = self._document(reference) if kind == "manifests" else self._blob(reference)
        if data is not None:
            self._answer(data, kind)
        elif self.command == "HEAD" and kind == "manifests" and reference.startswith("sha256:"):
            self._answer(b" " * 500, kind, digest=reference)
        else:
            self.send_response(200 if reference == "" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _document(self, reference: str) -> bytes | None:
        documents = [path.read_bytes() for path in self.folder.iterdir() if path.is_file()]
        named = self.folder / reference.replace(":", "_")
        if named.is_file():
            return named.read_bytes()
        return next((data for data in documents if _digest(data) == reference), None)

    def _blob(self, reference: str) -> bytes | None:
        path = self.folder / "blobs" / "sha256" / reference.removeprefix("sha256:")
        return path.read_bytes() if path.is_file() else None

    def _answer(self, data: bytes, kind: str, *, digest: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Docker-Content-Digest", digest or _digest(data))
        self.send_header("Content-Type", _media_type(data) if kind == "manifests" else "application/octet-stream")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it so
        sys.stdout.write(f"{format % args}\n")
        sys.stdout.flush()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _media_type(data: bytes) -> str:
    try:
        return str(json.loads(data)["mediaType"])
    except (ValueError, KeyError):
        return _MANIFEST


def serve(address: str, folder: Path) -> None:
    """Answer until the process ends."""
    _Handler.folder = folder
    host, _, port = address.rpartition(":")
    ThreadingHTTPServer((host, int(port)), _Handler).serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
