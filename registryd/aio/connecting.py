"""Why a connection could not be made, in the kernel's words."""

from __future__ import annotations

import os
import re
from typing import Final

# asyncio writes this, and the address as Python writes it, in place of the kernel's words. Where a host has several
# addresses, it puts the text of each failure into one error, without a number of its own.
_ASYNCIOS: Final = "Connect call failed"
_NUMBER: Final = re.compile(r"\[Errno ([0-9]{1,3})\]")


def reason_of(error: OSError) -> str:
    """The reason, for people."""
    if _ASYNCIOS in str(error):
        numbers = [error.errno] if error.errno else map(int, _NUMBER.findall(str(error)))
        return ", ".join(dict.fromkeys(map(os.strerror, numbers)))
    return error.strerror or str(error) or type(error).__name__
