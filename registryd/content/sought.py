"""What a question for content says: which content, and the name that it is wanted for.

A digest is no secret: it stands in pods, manifests and bills of materials. So it says which bytes are wanted, and not
that they may be given: that is decided by whoever has them, from what the content is to that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository


# Between peers, for bytes; in a header and not in the URL, which ends up in logs.
REPOSITORY_HEADER: Final = "Registryd-Repository"


class Standing(Enum):
    """What content is to the repository that it is wanted for, as one knows who has it."""

    REPOSITORY = "of that repository"
    REGISTRY = "of another repository of that registry"
    ANYONES = "of a repository that anyone may pull from"


@dataclass(frozen=True, slots=True)
class Sought:
    """Content that is wanted for a repository; None: who asks is of an older version, and did not say.

    `only_own`: nothing but content of that very repository will do, because what is given says that the repository has
    it. `accepts_unsaid`: the operator lets anyone have what that registry has, so that a source of an older version
    will do, which does not say what the content is to the repository.
    """

    digest: Digest
    repository: Repository | None
    only_own: bool = False
    accepts_unsaid: bool = False

    def __str__(self) -> str:
        return f"{self.digest} for {self.repository or 'anyone'}"

    def accepts(self, standing: Standing | None) -> bool:
        """Whether content of that standing will do; None: its source did not say."""
        if standing is None:
            return self.accepts_unsaid
        return standing is Standing.REPOSITORY or not self.only_own
