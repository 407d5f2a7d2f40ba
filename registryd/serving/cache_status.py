"""The origin of an answer, in its head: Cache-Status (RFC 9211)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from registryd.content.lookup import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.content.lookup import Hit


# Enough for any reason of ours; what an upstream says is shorter.
_LONGEST_DETAIL: Final = 400
_NOT_IN_A_STRING: Final = re.compile(r"[^ !#-\[\]-~]", re.ASCII)


def stale_status(why: str) -> str:
    """It is what was known last, because of this."""
    return f"registryd; hit; ttl=-1; {_detail(why)}"


def upstream_said(status: int) -> str:
    """It is the upstream's own word."""
    return f"registryd; fwd=miss; fwd-status={status}"


def no_answer(why: str) -> str:
    """The upstream was asked, or would have to be, and gives nothing, because of this."""
    return f"registryd; fwd=miss; {_detail(why)}"


def not_asked(why: str) -> str:
    """Nobody was asked, because of this."""
    return f"registryd; {_detail(why)}"


def _detail(why: str) -> str:
    """As a string of structured fields (RFC 8941 section 3.3.3): printable ASCII."""
    text = _NOT_IN_A_STRING.sub("", why.replace('"', "'"))
    return f'detail="{text[:_LONGEST_DETAIL]}"'


def cache_status(hit: Hit[Any]) -> Mapping[str, str]:
    """Whether we had it, had to ask an upstream, or could not ask."""
    if hit.stale is not None:
        return {"Cache-Status": stale_status(hit.stale)}
    if hit.origin is Origin.UPSTREAM:
        return {"Cache-Status": "registryd; fwd=miss; stored" if hit.is_stored else "registryd; fwd=miss"}
    return {"Cache-Status": "registryd; hit"}
