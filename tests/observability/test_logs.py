import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.observability.logs import HumanFormatter, JsonFormatter, clean, set_up_logs


def record(message: str, *args: object, exc_info: Any = None, **extra: Any) -> logging.LogRecord:
    name, level = "registryd.cluster.find", logging.WARNING
    return logging.getLogger(name).makeRecord(name, level, "find.py", 1, message, args, exc_info, extra=extra)


def human(*args: Any, **extra: Any) -> str:
    _, rest = HumanFormatter().format(record(*args, **extra)).split(" ", 1)
    return rest


def as_json(*args: Any, **extra: Any) -> dict[str, Any]:
    line = JsonFormatter().format(record(*args, **extra))
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_human_line_has_its_fields_at_the_end() -> None:
    line = human("peer set aside", peer="10.0.0.7:3173", seconds=4, reason="no answer", is_known=True)
    assert line == (
        'warning cluster.find: peer set aside  peer=10.0.0.7:3173 seconds=4 reason="no answer" is_known=True'
    )


def test_a_json_line_has_its_fields_beside_the_message() -> None:
    line = as_json("peer %s set aside", "b", seconds=4, ratio=float("inf"), key=None)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "registryd.cluster.find",
        "message": "peer b set aside",
        "seconds": 4,
        "ratio": "inf",
        "key": None,
    }


def test_a_field_cannot_replace_what_every_line_has() -> None:
    assert as_json("m", level="info", logger="x", time="now")["level"] == "warning"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\x1b[31m\x00", r"a\nb\r\x1b[31m\x00"),
        ("\u2028\u202e\ud800", r"\u2028\u202e\ud800"),
        ("naïve 日本", "naïve 日本"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz= failed", "basic *** failed"),
        ("GET https://user:pass@host/v2/?token=abc&n=1", "GET https://***@host/v2/?token=***&n=1"),
        ('{"token": "abc", "expires": 3}', '{"token": "***", "expires": 3}'),
        ("https://s3/blob?X-Amz-Signature=abc", "https://s3/blob?X-Amz-Signature=***"),
        ("a basic need, sha256:abc", "a basic need, sha256:abc"),
    ],
)
def test_a_text_is_one_line_without_credentials(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(st.characters()), st.integers(0, 2000))
def test_any_text_is_printable_and_bounded(text: str, repeat: int) -> None:
    shown = clean(text * repeat, longest=100)
    assert shown.isprintable()
    assert len(shown) <= 10 * 101  # an escape is up to ten characters long


@given(st.text(), st.text())
def test_no_foreign_text_makes_a_second_line(message: str, field: str) -> None:
    assert len(human("%s", message, field=field).splitlines()) == 1
    assert as_json("%s", message, field=field)["logger"] == "registryd.cluster.find"


def test_a_field_with_the_name_of_a_secret_is_masked() -> None:
    assert human("m", token="abc", peer_secret="def", Authorization="ghi").endswith(
        "token=*** peer_secret=*** Authorization=***",
    )


def test_a_traceback_is_part_of_its_line() -> None:
    with pytest.raises(ValueError, match="first") as found:
        raise ValueError("first\n12:00:00.000 info forged: line\x1b[31m")
    caught = (found.type, found.value, found.tb)
    first, *rest = HumanFormatter().format(record("failed", exc_info=caught)).splitlines()
    assert first.endswith("cluster.find: failed")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError: first\n" in as_json("failed", exc_info=caught)["traceback"]


@pytest.fixture
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    names = [None, "aiohttp.access", "grpc", "zeroconf", "asyncio"]
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers = []
    yield
    root.handlers = handlers
    logging.captureWarnings(capture=False)
    for logger, level in levels:
        logger.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("human", io.StringIO(), False),
        ("json", Terminal(), True),
    ],
)
def test_auto_is_for_whoever_reads(form: str, stream: io.StringIO, *, is_json: bool) -> None:
    set_up_logs(form=form, level="info", stream=stream)
    logging.getLogger("registryd").info("ready")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(("level", "is_shown"), [("info", False), ("debug", True)])
def test_requests_are_logged_for_debugging_only(level: str, *, is_shown: bool) -> None:
    stream = io.StringIO()
    set_up_logs(form="json", level=level, stream=stream)
    logging.getLogger("aiohttp.access").info("GET /v2/")
    assert bool(stream.getvalue()) is is_shown


@pytest.mark.usefixtures("logging_as_before")
def test_what_grpc_says_with_each_call_is_never_logged() -> None:
    stream = io.StringIO()
    set_up_logs(form="json", level="debug", stream=stream)
    logging.getLogger("grpc._cython.cygrpc").debug("[_cygrpc] Loaded running loop: id(loop)=1")
    assert not stream.getvalue()
