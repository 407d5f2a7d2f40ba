"""The one place that writes an OCI error."""

from __future__ import annotations

import json
import math

from aiohttp import web

from registryd.oci.errors import CODES, MethodUnsupported, OciError, RangeInvalid, Unavailable
from registryd.version import SERVER


def error_response(error: OciError) -> web.Response:
    """The JSON error body of distribution-spec, "Error Codes", with the status from the table."""
    code, status = CODES[type(error)]
    body = {"errors": [{"code": code, "message": str(error)}]}
    headers = {"Server": SERVER}
    data = json.dumps(body).encode()
    response = web.Response(body=data, status=status, headers=headers, content_type="application/json")
    if error.cache_status:
        response.headers["Cache-Status"] = error.cache_status
    if isinstance(error, RangeInvalid):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, MethodUnsupported):
        response.headers["Allow"] = "GET, HEAD"
    if isinstance(error, Unavailable) and error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response
