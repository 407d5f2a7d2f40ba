"""The one place that writes an OCI error."""

from __future__ import annotations

import json

from aiohttp import web

from registryd.oci.errors import CODES, MethodUnsupported, OciError, RangeInvalid


def error_response(error: OciError) -> web.Response:
    """The JSON error body of distribution-spec, "Error Codes", with the status from the table."""
    code, status = CODES[type(error)]
    body = {"errors": [{"code": code, "message": str(error)}]}
    response = web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")
    if isinstance(error, RangeInvalid):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, MethodUnsupported):
        response.headers["Allow"] = "GET, HEAD"
    return response
