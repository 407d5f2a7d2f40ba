"""Addresses that others wrote: a strict subset of RFC 3986, so that no two parsers can read them differently.

No user information, no IDNA, no fragments that matter; registries, token servers and storage services use none of it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from yarl import URL

# RFC 1123 section 2.1, with the underscores that some private names have.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*\.?"
# A signed address of a storage service has up to some 2000 characters; 8000 octets are what a request line should
# be able to hold (RFC 9112 section 3).
_REST: Final = r"(?:[/?#][!-Z\\^-~]{0,8000})?"
_ABSOLUTE: Final = re.compile(
    rf"https?://(?P<host>{_NAME}|\[(?P<ipv6>[0-9a-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{1,5}}))?{_REST}",
    re.ASCII | re.IGNORECASE,
)
# RFC 3986 section 4.2: an authority with what follows, an absolute path, or a relative one, which has no colon in its
# first segment.
_AUTHORITY: Final = re.compile(r"//[^/].*", re.ASCII)
_PATH: Final = re.compile(r"/(?:[!-.0-Z\\^-~][!-Z\\^-~]{0,8000})?", re.ASCII)
_RELATIVE: Final = re.compile(r"(?!/|$)[!-.0-9;->@-Z^-~]{0,255}(?:[/?#][!-Z\\^-~]{0,8000})?", re.ASCII)
_EXPECTED: Final = "expected http(s)://host[:port][/path]"
_LONGEST_NAME: Final = 254  # RFC 1035 section 2.3.4, and a dot at the end
_HIGHEST_PORT: Final = 65535


def parse_address(text: str) -> URL:
    """An absolute http or https URL, quoted as it was written; raises ValueError, which does not quote it."""
    found = _ABSOLUTE.fullmatch(text)
    if found is None or len(found["host"]) > _LONGEST_NAME or not 1 <= int(found["port"] or 1) <= _HIGHEST_PORT:
        raise ValueError(_EXPECTED)
    try:
        if found["ipv6"]:
            ipaddress.IPv6Address(found["ipv6"])
        # Quoting it anew would break the signatures of storage services.
        url = URL(text, encoded=True).with_fragment(None)
        _ = url.host  # yarl decodes names that begin with xn-- when they are first looked at
    except ValueError:
        raise ValueError(_EXPECTED) from None
    return url


def resolve_address(base: URL, text: str) -> URL:
    """The URL that a Location header or a realm means: absolute, or relative to `base`; raises ValueError.

    Blanks, which have no business in it, are quoted, as Go's client reads them.
    """
    text = text.strip(" \t").replace(" ", "%20")
    if _AUTHORITY.fullmatch(text):
        return parse_address(f"{base.scheme}:{text}")
    if _PATH.fullmatch(text) or _RELATIVE.fullmatch(text):
        return base.join(URL(text, encoded=True)).with_fragment(None)
    return parse_address(text)
