"""A server's reason for a refusal, made fit to be shown: one line, bounded, without secrets."""

from __future__ import annotations

import re
from typing import Final

from registryd.json_text import parse_json

# As much as a sentence and an address need.
_LONGEST: Final = 240
# Signed addresses have their signature there.
_QUERY: Final = re.compile(r"(https?://[^\s?]*)\?\S*")
# A header that is quoted back at us.
_AUTHORIZATION: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def reason_in(body: bytes, media_type: str | None) -> str:
    """The reason in an error's body: OCI errors (distribution-spec, "Error Codes"), or plain text; empty if none."""
    text = body.decode(errors="replace")
    # First: olareg sends it as text/plain.
    try:
        errors = parse_json(text)["errors"]
        return _shown("; ".join(_of_error(error) for error in errors[:2]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _shown(text) if media_type == "text/plain" else ""


def _of_error(error: dict[str, object]) -> str:
    return str(error.get("message") or error.get("code") or "")


def _shown(text: str) -> str:
    line = " ".join("".join(one if one.isprintable() else " " for one in text[: 8 * _LONGEST]).split())
    line = _AUTHORIZATION.sub(r"\1 ...", _QUERY.sub(r"\1", line))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
