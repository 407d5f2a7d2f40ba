"""What a docker-registry was asked for, read from its JSON log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# How Go writes a duration: 1m2.5s, 8.6ms, 965.4µs.
_PART = re.compile(r"(?P<number>[\d.]+)(?P<unit>h|ms|m|s|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/?]+)(?:\?.*)?")


@dataclass(frozen=True)
class Access:
    """One answered request for a manifest or a blob; uploads and pings are left out.

    The registry does not log the Range header: a status of 206 and `sent` tell of it.
    """

    method: str
    repository: str
    kind: str  # manifests or blobs
    reference: str  # tag or digest
    status: int
    sent: int  # bytes of the body that went out
    client: str  # the address it came from
    program: str = ""  # its User-Agent
    began: float = field(default=0.0, compare=False)  # Unix seconds

    @property
    def is_read(self) -> bool:
        return self.method in {"GET", "HEAD"}

    @property
    def is_blob_transfer(self) -> bool:
        """A blob's bytes were asked for, whether or not they were there."""
        return self.method == "GET" and self.kind == "blobs"


def parse_access_log(text: str) -> Iterator[Access]:
    """The requests in the order in which their answers ended. Lines that are anything else are skipped."""
    for line in text.splitlines():
        if '"response completed' in line and (access := _parse(json.loads(line))):
            yield access


def _parse(record: dict[str, Any]) -> Access | None:
    match = _PATH.fullmatch(record.get("http.request.uri", ""))
    if not match:
        return None
    return Access(
        method=record["http.request.method"],
        repository=match["repository"],
        kind=match["kind"],
        reference=match["reference"],
        status=int(record.get("http.response.status", 0)),
        sent=int(record.get("http.response.written", 0)),
        client=record["http.request.remoteaddr"].rpartition(":")[0],
        program=record.get("http.request.useragent", ""),
        began=datetime.fromisoformat(record["time"]).timestamp() - _seconds(record["http.response.duration"]),
    )


def _seconds(duration: str) -> float:
    return sum(float(part["number"]) * _SECONDS[part["unit"]] for part in _PART.finditer(duration))
