"""So many of something, in words."""


def counted(count: int, one: str, many: str = "") -> str:
    """`1 name`, `3 names`; `many` where an s at the end does not make it so."""
    return f"{count} {one if count == 1 else many or one + 's'}"
