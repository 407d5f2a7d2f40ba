"""What an answer says of where it comes from: Cache-Status (RFC 9211)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registryd.content.lookup import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.content.lookup import Hit


def cache_status(hit: Hit[Any]) -> Mapping[str, str]:
    """Whether we had it, had to ask an upstream, or could not ask."""
    if hit.stale is not None:
        reason = hit.stale.replace("\\", "").replace('"', "'")
        return {"Cache-Status": f'registryd; hit; ttl=-1; detail="{reason}"'}
    if hit.origin is Origin.UPSTREAM:
        return {"Cache-Status": "registryd; fwd=miss; stored" if hit.is_stored else "registryd; fwd=miss"}
    return {"Cache-Status": "registryd; hit"}
