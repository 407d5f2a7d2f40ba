"""Filling a cache from a list: everything that it lacks is pulled through it, until all of it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.inventory.looking import Looker, stored_only

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.looking import Outcome, Progress
    from registryd.inventory.walk import Platform
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint

# Rounds while something is lacking: what an upstream broke off is usually had in the second.
_ROUNDS: Final = 3


class _Silent:
    """Progress that nobody is told of."""

    def advanced(self, count: int) -> None:
        pass

    def finished(self, outcome: Outcome) -> None:
        pass


async def fill(  # noqa: PLR0913 - all are named
    images: Sequence[ImageName],
    client: RegistryClient,
    cache: Endpoint,
    progress: Progress,
    *,
    platforms: Collection[Platform],
    parallel: int,
) -> Sequence[Outcome]:
    """Pull what is lacking; the outcome of each image is what the cache has afterwards, asked of its store.

    What is there already is not read again, so an interrupted run is gone on with by running it again.
    """
    outcomes: dict[ImageName, Outcome] = {}
    lacking = list(images)
    stored = stored_only(cache)
    for _ in range(_ROUNDS):
        pulling = Looker(client, cache, progress, platforms=platforms, parallel=parallel, unless_at=stored)
        pulled = await pulling.look_at(lacking)
        checking = Looker(client, stored, _Silent(), platforms=platforms, parallel=parallel, hashes=False)
        checked = await checking.look_at(lacking)
        # What could not be pulled says why; what was pulled and is not there, that.
        outcomes |= {
            each.image: failed if failed.lacking else each for failed, each in zip(pulled, checked, strict=True)
        }
        lacking = [image for image in lacking if outcomes[image].lacking]
        if not lacking:
            break
    return [outcomes[image] for image in images]
