"""Which content a node gives for which name: the node decides from the names of its content and the wanted name.

* A node gives content of the registry of that name. It gives manifests only of that very repository, because a manifest
  tells what else to ask for. containerd labels each manifest with every repository from which it was pulled.
* A node gives content of any repository from which anyone may pull, as the upstream said to this node.
* A node gives no content that it knows under excluded names only, and no content for an excluded name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.agent import AuthorizationMode
from registryd.content.sought import Standing
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registryd.content.naming_rules import NamingRules
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository


class Entitlement:
    """The rules of one node."""

    def __init__(self, rules: NamingRules, is_public: Callable[[Repository], bool]) -> None:
        """`is_public`: whether the repository's upstream said that anyone may pull from it."""
        self._rules = rules
        self._is_public = is_public

    def standing(
        self,
        sought: Sought,
        content: Content,
        provenance: Provenance,
        namers: Callable[[Digest], frozenset[Repository]],
    ) -> Standing | None:
        """The relation of the content to the wanted name; None: the node does not give the content for that name."""
        if provenance.is_nobodys:
            return Standing.REPOSITORY
        if sought.repository is not None and self._rules.excludes(sought.repository):
            return None
        standing = self._by_names(sought.repository, provenance.repositories, content)
        if standing is Standing.REPOSITORY or not self._is_open(sought.repository):
            return standing
        # Where anyone may have everything, the content that an image lists is the image's, and content without a name
        # is free.
        listed = namers(content.digest)
        if not (listed or provenance.repositories):
            return Standing.REPOSITORY
        return self._by_names(sought.repository, filter(self._is_open, listed), content) or standing

    def _by_names(self, wanted: Repository | None, names: Iterable[Repository], content: Content) -> Standing | None:
        known = {name for name in names if not self._rules.excludes(name)}
        if wanted in known:
            return Standing.REPOSITORY
        if any(self._is_public(name) for name in known):
            return Standing.ANYONES
        if wanted is None:
            return Standing.REGISTRY if any(map(self._is_open, known)) else None
        is_same = any(name.registry == wanted.registry for name in known)
        return Standing.REGISTRY if is_same and not _may_be_manifest(content) else None

    def _is_open(self, repository: Repository | None) -> bool:
        if repository is None:
            return self._rules.has_open
        return self._rules.mode(repository.registry) is AuthorizationMode.OPEN


def _may_be_manifest(content: Content) -> bool:
    """Whether arriving content may be a manifest that the node has not read yet."""
    is_unread = content.is_growing and content.media_type is None
    return is_manifest_type(content.media_type) or (is_unread and content.size <= MAX_MANIFEST_SIZE)
