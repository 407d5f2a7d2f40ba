from __future__ import annotations

import json

import pytest

from lab.access_log import Access, parse_access_log

DIGEST = "sha256:" + "ab" * 32


def line(uri: str, *, method: str = "GET", status: int = 200, message: str = "response completed") -> str:
    return json.dumps(
        {
            "http.request.method": method,
            "http.request.remoteaddr": "10.77.0.2:51234",
            "http.request.uri": uri,
            "http.response.duration": "1m2.5s",
            "http.response.status": status,
            "http.response.written": 42,
            "level": "info",
            "msg": message,
            "time": "1970-01-01T00:02:00.946829878Z",
        },
        separators=(",", ":"),
    )


def test_manifests_and_blobs_are_told_apart() -> None:
    text = "\n".join([line("/v2/demo/app/manifests/v1?ns=x"), line(f"/v2/a/b/c/blobs/{DIGEST}", status=206)])
    assert list(parse_access_log(text)) == [
        Access("GET", "demo/app", "manifests", "v1", 200, 42, "10.77.0.2"),
        Access("GET", "a/b/c", "blobs", DIGEST, 206, 42, "10.77.0.2"),
    ]


def test_a_request_began_before_its_line() -> None:
    (access,) = parse_access_log(line("/v2/demo/app/manifests/v1"))
    assert access.began == pytest.approx(120.947 - 62.5, abs=0.001)


def test_the_rest_of_the_log_is_skipped() -> None:
    lines = [line("/v2/"), line("/v2/a/blobs/uploads/?x", message="authorizing request"), "not JSON at all", ""]
    assert not list(parse_access_log("\n".join(lines)))


def test_an_answer_that_ended_in_an_error_counts() -> None:
    (access,) = parse_access_log(line(f"/v2/a/blobs/{DIGEST}", status=404, message="response completed with error"))
    assert access.is_blob_transfer
    assert access.status == 404


def test_a_head_transfers_nothing() -> None:
    (access,) = parse_access_log(line(f"/v2/a/blobs/{DIGEST}", method="HEAD"))
    assert access.is_read
    assert not access.is_blob_transfer
