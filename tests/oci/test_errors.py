from __future__ import annotations

import inspect

from registryd.oci import errors
from registryd.oci.errors import CODES, OciError


def test_every_error_has_a_code_and_a_status_that_containerd_moves_on_from() -> None:
    """408 and 429 would make containerd try the same host six times; 5xx is for what is broken, not for requests."""
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, OciError) and kind is not OciError
    }
    assert set(CODES) == kinds
    fit = {*range(400, 500), 503} - {401, 408, 429}
    assert all(code.status in fit for code in CODES.values())
    assert all(code.code.isupper() for code in CODES.values())
