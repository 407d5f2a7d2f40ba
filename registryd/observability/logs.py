"""The form of log lines, and the text that must not be in them.

Code logs with the standard library. The subject of a line goes into `extra`:
`logger.info("peer set aside", extra={"peer": address, "seconds": 4})`. Foreign text is safe in messages and extras:
characters that could forge a line or steer a terminal are escaped, long texts are cut, and text that looks like a
credential is masked. The mask is a safety net: code must not log secrets in the first place.
"""

import json
import logging
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from registryd.observability.repeated_lines import CountingHandler

# Long enough for a digest, a reference or a reason; a foreign header can be 16 KiB.
_LONGEST_TEXT = 500
_LONGEST_TRACEBACK = 20_000

_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_SECRET_NAME = re.compile(r"token|secret|passw|authorization|cookie|credential", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<userinfo>://)[^/\s@]+@"
    r"|(?P<scheme>\b(?:Bearer|Basic) +)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?P<parameter>(?:token|secret|passw(?:or)?d|signature|sig|credential)\"?[=:] ?\"?)[^\s&\"',;]+",
    re.IGNORECASE,
)
_MASK = "***"


def set_up_logs(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Write the log to `stream` (standard error); `form` and `level` as in `LogSettings`.

    Of many lines of a kind ten a minute are written, and how many more there were.

    Call it before gRPC is imported, whose core reads its verbosity from the environment once.
    """
    target = stream or sys.stderr
    human = form == "human" or (form == "auto" and target.isatty())
    handler = CountingHandler(target)
    handler.setFormatter(HumanFormatter() if human else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    _quiet_libraries(debug=level == "debug")


def _quiet_libraries(*, debug: bool) -> None:
    # One line per request is for debugging. asyncio and gRPC speak of their own insides: gRPC says with each call which
    # loop it runs on, nine tenths of an agent's lines.
    for name in ("aiohttp.access", "zeroconf"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    for name in ("asyncio", "grpc"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not debug:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the extras, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = _traceback(self, record)
        # An extra never replaces one of these.
        return json.dumps(line | _extras(record) | line, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """`12:30:59.123 warning cluster: peer set aside  peer=10.0.0.7:3173 seconds=4`; tracebacks below, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _extras(record).items())
        time = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = record.name.removeprefix("registryd.")
        line = f"{time} {record.levelname.lower():7} {name}: {clean(record.getMessage())}"
        line = f"{line} {fields}" if fields else line
        if record.exc_info:
            line += "".join(f"\n    {part}" for part in _traceback(self, record).splitlines())
        return line


def clean(text: str, *, longest: int = _LONGEST_TEXT) -> str:
    """The text on one line, without control characters, at most `longest` characters, credentials masked."""
    masked = _SECRET_TEXT.sub(_masked, text[: 2 * longest])
    if len(masked) > longest or len(text) > 2 * longest:
        masked = masked[:longest] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in masked)


def _masked(found: re.Match[str]) -> str:
    kept = found[found.lastgroup or 0]
    return f"{kept}{_MASK}@" if found.lastgroup == "userinfo" else f"{kept}{_MASK}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {
        clean(name): _MASK if _SECRET_NAME.search(name) else _value(value)
        for name, value in record.__dict__.items()
        if name not in _OWN_FIELDS
    }


def _value(value: object) -> bool | float | str | None:
    if value is None or isinstance(value, bool | int):
        return value
    # JSON has no notation for infinity.
    return value if isinstance(value, float) and math.isfinite(value) else clean(str(value))


def _quoted(value: float | str | None) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    lines = formatter.formatException(record.exc_info or (None, None, None)).splitlines()
    return "\n".join(clean(line) for line in lines)[-_LONGEST_TRACEBACK:]


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
