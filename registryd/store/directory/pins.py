"""Which images are never removed: those whose names fit a pattern, with what is attached to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.name_patterns import NamePattern
from registryd.oci.referrers import attached_tags, is_attached_name, referrers_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registryd.oci.digest import Digest
    from registryd.oci.image_layout import IndexEntry
    from registryd.oci.manifest import Manifest


class PinPatterns:
    """Patterns of full names; an asterisk stands for anything."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [NamePattern.parse(text) for text in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def roots(self, entries: Iterable[IndexEntry], manifests: Mapping[Digest, Manifest]) -> set[Digest]:
        """Of what names mean: what has to stay with all that it leads to."""
        roots: set[Digest] = set()
        attached: dict[str, list[Digest]] = {}
        for entry in entries:
            if entry.name and any(pattern.matches(str(entry.name)) for pattern in self._patterns):
                roots.add(entry.target.digest)
            elif is_attached_name(entry.name):
                attached.setdefault(entry.name.tag.name, []).append(entry.target.digest)
        return roots | _attached_to(roots, attached, manifests)


def _attached_to(
    roots: Iterable[Digest], attached: Mapping[str, Iterable[Digest]], manifests: Mapping[Digest, Manifest]
) -> set[Digest]:
    """The content that is attached to these, to their parts, and to attached content, by the tags that it has."""
    found: set[Digest] = set()
    seen: set[Digest] = set()
    waiting = list(roots) if attached else []
    while waiting:
        if (digest := waiting.pop()) in seen or digest not in manifests:
            continue
        seen.add(digest)
        waiting += [child.digest for child in manifests[digest].children]
        for tag in (referrers_tag(digest), *attached_tags(digest)):
            found.update(attached.get(tag.name, ()))
            waiting += attached.get(tag.name, ())
    return found
