"""Lists of addresses as people and programs write them."""

from __future__ import annotations

from registryd.json_text import parse_json
from registryd.notation import Address


class AddressListInvalid(Exception):
    """Something in the list is not host:port; the message names it. None of the list is used."""


def parse_addresses(text: str) -> frozenset[Address]:
    """Read one host:port per line, with empty lines and `#` comments, or a JSON list. Raises AddressListInvalid."""
    entries = _json_list(text)
    if entries is None:
        entries = [line.partition("#")[0].strip() for line in text.splitlines()]
    return frozenset(_parse(entry) for entry in entries if entry != "")


def _json_list(text: str) -> list[object] | None:
    """The list; None when the text is not JSON: a list that begins with an IPv6 address in brackets is none."""
    try:
        document = parse_json(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, list) else None


def _parse(entry: object) -> Address:
    if not isinstance(entry, str):
        raise AddressListInvalid(f"{entry!r:.100} is not host:port")
    try:
        return Address.parse(entry)
    except ValueError as error:
        raise AddressListInvalid(str(error)[:200]) from error
