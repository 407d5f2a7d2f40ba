"""A question for content: which content, and the name for which the client wants it.

A digest is no secret: pods, manifests and bills of materials contain it. So a digest says which bytes are wanted, and
not that a node may give them. The node with the content decides that, from the relation of the content to the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository


# Between peers, for bytes; in a header and not in the URL, which ends up in logs.
REPOSITORY_HEADER: Final = "Registryd-Repository"
# Between peers, for bytes: the number of the stripe.
STRIPE_HEADER: Final = "Registryd-Stripe"
# For how many milliseconds the answer may wait for the first byte. A door of an older version answers at once.
WAIT_HEADER: Final = "Registryd-Wait"
# In the answer with the bytes: what they are to the repository. A door of an older version does not say.
STANDING_HEADER: Final = "Registryd-Standing"


class Standing(Enum):
    """The relation of content to the wanted repository, as the node with the content knows it."""

    REPOSITORY = "of that repository"
    REGISTRY = "of another repository of that registry"
    ANYONES = "of a repository that anyone may pull from"

    @classmethod
    def named(cls, text: str) -> Self | None:
        """The standing that a header names; None: none, or one that this version does not know."""
        return next((standing for standing in cls if standing.header == text), None)

    @property
    def header(self) -> str:
        """As a header names it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Sought:
    """Content that is wanted for a repository; None: the asking node is of an older version, and did not say.

    `only_own`: the client needs content of that very repository, because the answer states that the repository has the
    content. `accepts_unsaid`: the operator lets anyone have the content of that registry. Then a source of an older
    version is good enough, which does not state the relation of the content to the repository.

    `stripe`: one stripe of the content is wanted (`registryd.transfer.striping`), and sizes and ranges are those of the
    stripe.
    """

    digest: Digest
    repository: Repository | None
    only_own: bool = False
    accepts_unsaid: bool = False
    stripe: int | None = None

    def __str__(self) -> str:
        return f"{self.digest} for {self.repository or 'anyone'}"

    def accepts(self, standing: Standing | None) -> bool:
        """Whether content of that standing will do; None: its source did not say."""
        if standing is None:
            return self.accepts_unsaid
        return standing is Standing.REPOSITORY or not self.only_own
