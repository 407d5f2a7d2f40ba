"""The images that this node keeps for the cluster (`images.keep`), pulled by its containerd as far as it may."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from registryd.cluster.assembly import Copies
from registryd.config.keeping import parse_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from registryd.config.agent import ImagesSettings
    from registryd.content.background import Background
    from registryd.content.keepable import ImageHere, KeptImage
    from registryd.observability.metrics import Metrics
    from registryd.oci.reference import FullName
    from registryd.store.choice import NodeStore, PullsInto
    from registryd.upstream.docker_config import DockerConfig

_log = logging.getLogger(__name__)


def copies_of(
    settings: ImagesSettings,
    store: NodeStore,
    *,
    background: Background,
    is_blocked: Callable[[KeptImage], bool],
    metrics: Metrics,
) -> Copies | None:
    """This node's part in keeping copies; None where no copies are wanted or possible. Blocked images are not kept."""
    rules = parse_rules(settings.keep)
    if not rules or not settings.keep_max_size:
        return None
    if store.keepable is None:
        _log.warning("images.keep needs a containerd, which this node does not have: it keeps no copies")
        return None
    # Here, because most nodes have no logins.
    from registryd.upstream.docker_config import DockerConfig  # noqa: PLC0415

    file = settings.keep_docker_config
    logins = DockerConfig(file, clock=time.monotonic) if file else None
    here = _Here(store.keepable, background, logins, is_blocked, most_used=settings.keep_max_disk / 100)
    return Copies(rules, here, most_bytes=settings.keep_max_size, delay=settings.keep_delay, observer=metrics)


class _Here:
    """A Keepable (`registryd.content.keepable`) over a store that needs a login for its pulls."""

    def __init__(
        self,
        images: PullsInto,
        background: Background,
        logins: DockerConfig | None,
        is_blocked: Callable[[KeptImage], bool],
        *,
        most_used: float,
    ) -> None:
        """`most_used`: the share of the disk that may be."""
        self._images = images
        self._most_used = most_used
        self._background = background
        self._logins = logins
        self._is_blocked = is_blocked

    async def images(self) -> Collection[ImageHere]:
        found: Sequence[ImageHere] = list(await self._images.images())
        return [each for each in found if not self._is_blocked(each.image)]

    async def wait_changed(self) -> None:
        await self._images.wait_changed()

    async def size_of(self, name: FullName) -> int | None:
        return await self._images.size_of(name)

    async def kept(self) -> Collection[FullName]:
        return await self._images.kept()

    async def keep(self, name: FullName) -> bool:
        return await self._images.keep(name)

    async def let_go(self, name: FullName) -> None:
        await self._images.let_go(name)

    async def bring(self, name: FullName) -> None:
        # Here, because it speaks gRPC, which an agent of a directory does without.
        from registryd.inventory.pulling import secret_for  # noqa: PLC0415

        secret = await secret_for(name.repository, self._logins)
        with self._background.bringing(name):
            await self._images.pull(name, secret)

    def has_room(self, size: int) -> bool:
        return self._images.has_room(size, most_used=self._most_used)
