"""The repositories that are public by the word of their upstreams, kept over restarts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Repository

if TYPE_CHECKING:
    from registryd.caching.recollection import Recollection
    from registryd.upstream.public import PublicRepositories

_log = logging.getLogger(__name__)

# Twice what as many repositories take as are remembered, all with the longest name.
NOTE_BYTES: Final = 2 * 1024 * 1024


class PublicMemory:
    """The repositories that anyone may pull."""

    def __init__(self, kept: Recollection, public: PublicRepositories) -> None:
        self._kept = kept
        self._public = public

    async def recall(self) -> None:
        """Know again what was known."""
        known = await self._kept.read()
        try:
            ages = [(Repository(registry, path), age) for registry, path, age in known]
        except NameInvalid as error:
            _log.warning(
                "the saved list of public repositories cannot be used, so the upstreams are asked again: %s", error
            )
            return
        for repository, age in ages:
            self._public.recall(repository, age=age)

    async def keep(self) -> None:
        """Write it down whenever it changes, for ever."""
        while True:
            await self._public.changed.wait()
            self._public.changed.clear()
            said = ((repository.registry, repository.path, age) for repository, age in self._public.ages())
            await self._kept.write(said)
