"""A trial pull: a tiny image is held by a peer, or by this node if it has none, and may be resolved for a minute."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from registryd.aio.expiring import ExpiringSet
from registryd.content.trial import TRIAL_PATH, TrialImage, TrialWords
from registryd.oci.errors import OciError
from registryd.oci.platform import local_architecture
from registryd.oci.reference import Registry
from registryd.serving.policy import Ruling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.cluster.assembly import Checkup
    from registryd.content.trial import Trials
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Repository
    from registryd.serving.policy import ResolvePolicy

# As long as the image is offered (content.trial).
_LASTS_SECONDS: Final = 60.0
_MOST_AT_ONCE: Final = 16


class TrialDesk:
    """Begins trials, and knows the trials that began here."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._begun: ExpiringSet[Reference] = ExpiringSet(lifetime=_LASTS_SECONDS, capacity=_MOST_AT_ONCE)
        self._content: ExpiringSet[Digest] = ExpiringSet(lifetime=_LASTS_SECONDS, capacity=_MOST_AT_ONCE * 3)

    async def begin(self, registry: str, checkup: Checkup) -> Mapping[str, Any]:
        """Raises ValueError for what is no registry, TooManyTrials when neither a peer nor this node takes one more."""
        words = TrialWords(secrets.token_hex(8), local_architecture())
        image = TrialImage.of(words)
        try:
            host = Registry(registry)
        except OciError as error:
            raise ValueError(str(error)) from error
        holder = await checkup.rehearse(words)
        if holder is None:
            self._trials.offer(words)
        self._begun.add(image.manifest)
        for digest in image.content:
            self._content.add(digest)
        return {
            "reference": f"{host}/{TRIAL_PATH}@{image.manifest}",
            "content": [str(digest) for digest in image.content],
            "holder": str(holder) if holder else None,
        }

    def knows(self, reference: Reference | Digest) -> bool:
        """Whether this is the image of a trial that was begun here lately."""
        return reference in self._begun

    def is_content(self, digest: Digest) -> bool:
        """Whether the content is of the image of a trial that began here lately."""
        return digest in self._content


class TrialsToo:
    """A policy that also allows to resolve trial images, which have no owner."""

    def __init__(self, policy: ResolvePolicy, desk: TrialDesk) -> None:
        self._policy = policy
        self._desk = desk

    async def may_resolve(self, repository: Repository, reference: Reference) -> Ruling:
        if self._desk.knows(reference):
            return Ruling.ANYTHING
        return await self._policy.may_resolve(repository, reference)

    def may_describe(self, repository: Repository) -> bool:
        return self._policy.may_describe(repository)

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        return await self._policy.may_list(repository, subject)

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        return self._policy.may_serve(repository, reference)

    def is_open(self, registry: Registry) -> bool:
        return self._policy.is_open(registry)
