"""Lines that say of which images the cluster has several: `ghcr.io/corp/* copies=3 zones=2`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from registryd.config.name_patterns import NamePattern

# More copies are a prefetch; and an index node names twelve at most.
MOST_COPIES: Final = 8
_NUMBER: Final = re.compile(r"(copies|zones)=(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """On how many nodes an image is to be, and in how many zones."""

    copies: int
    zones: int = 1


@dataclass(frozen=True, slots=True)
class KeepRule:
    """What is wanted of the images whose name, or whose repository's, matches a pattern."""

    pattern: NamePattern
    wanted: Wanted

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raises ValueError, which says what is wrong."""
        pattern, *words = line.split()
        numbers: dict[str, int] = {}
        for word in words:
            match = _NUMBER.fullmatch(word)
            if match is None:
                raise ValueError(f"{word[:80]!r}: expected copies= or zones= with a number")
            if match[1] in numbers:
                raise ValueError(f"{line[:80]!r}: {match[1]}= is there twice")
            numbers[match[1]] = int(match[2])
        copies, zones = numbers.get("copies", 0), numbers.get("zones", 1)
        if not 1 <= copies <= MOST_COPIES:
            raise ValueError(f"{line[:80]!r}: copies= must be from 1 to {MOST_COPIES}")
        if not 1 <= zones <= copies:
            raise ValueError(f"{line[:80]!r}: zones= must be from 1 to the number of copies")
        return cls(NamePattern.parse(pattern), Wanted(copies, zones))


def parse_rules(lines: Iterable[str]) -> tuple[KeepRule, ...]:
    """Of each line that is not empty and no comment. Raises ValueError."""
    texts = (line.partition("#")[0].strip() for line in lines)
    return tuple(KeepRule.parse(text) for text in texts if text)


def wanted_of(rules: Sequence[KeepRule], *names: str) -> Wanted | None:
    """The most that the rules want of what has these names; None when none is about it."""
    found = [rule.wanted for rule in rules if rule.pattern.matches(*names)]
    if not found:
        return None
    return Wanted(max(each.copies for each in found), max(each.zones for each in found))
