"""JSON from outside, within bounds: how much memory a document takes depends on its values, not on its bytes.

A byte of `{},{},…` becomes thirty in memory; of an honest manifest, three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from registryd.json_text import parse_json
from registryd.oci.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

# Objects, lists and separators: some 50 MiB at the very most. An index.json of 20,000 images has 400,000.
_MOST_VALUES: Final = 600_000
_SIGNS: Final[Iterable[bytes]] = (b"{", b"[", b",")


def load_json(data: bytes, *, what: str = "") -> Any:
    """The value. Raises ManifestInvalid, which begins with `what` it should have been."""
    begin = f"{what} is " if what else ""
    if sum(data.count(sign) for sign in _SIGNS) > _MOST_VALUES:
        raise ManifestInvalid(f"{begin}not usable: it has more than {_MOST_VALUES} values")
    try:
        return parse_json(data)
    except ValueError as error:
        raise ManifestInvalid(f"{begin}not JSON") from error
