"""Keeping layers shareable that containerd throws away once they are unpacked.

A layer is gone within a second of its pull, sooner than anybody could react. So it is leased while it is being pulled:
containerd asks us for the manifest before it asks for the layers, and a lease may name content that is not there yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from registryd.aio import clock
from registryd.aio.expiring import ExpiringSet
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.store.containerd.shelf import Layer, Shelf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registryd.oci.digest import Digest
    from registryd.store.containerd.images import Images
    from registryd.store.containerd.layers import UnkeptLayers
    from registryd.store.containerd.leases import Leases
    from registryd.store.containerd.shelf import KeptLayersLimits

# How long layers are kept for an image that does not come to be: its pull failed, or takes longer than this, and then
# the image's own event is what counts.
_UNNAMED_SECONDS: Final = 3600.0
# Content that was asked for and may turn out to be a manifest: a pull asks for its layers moments after its manifest.
_EXPECT_SECONDS: Final = 600.0
_MOST_EXPECTED: Final = 1000
# Age and the lease's end are looked at this often; both are matters of hours.
_IDLE_SECONDS: Final = 60.0
# Between two attempts while containerd is away.
_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class LayerKeeper:
    """Leases layers that are about to be discarded, and ends a lease with its image, or when the limits say so.

    `run` does all the work, one step after the other, and no pull waits for it. A layer that it cannot keep costs a
    pull of another node a way to the origin.
    """

    def __init__(self, images: Images, layers: UnkeptLayers, leases: Leases, *, limits: KeptLayersLimits) -> None:
        self._images = images
        self._layers = layers
        self._leases = leases
        self._limits = limits
        self._shelf = Shelf(limits)
        self._has_news = asyncio.Event()
        self._is_new = True
        self._has_garbage = False
        self._used: set[Digest] = set()
        self._expected: ExpiringSet[Digest] = ExpiringSet(lifetime=_EXPECT_SECONDS, capacity=_MOST_EXPECTED)
        self._is_one_unsettled = False
        """Whether content that was waited for has come, and nothing can be said of its layers yet."""
        self._of_image: dict[tuple[str, Digest], frozenset[Layer]] = {}
        self._unnamed: dict[Layer, float] = {}
        self._named: frozenset[Layer] = frozenset()

    # What happens, told by others

    def listed(self) -> None:
        self._is_new = True
        self._has_news.set()

    def changed(self) -> None:
        self._has_news.set()

    def expect(self, digest: Digest) -> None:
        """Note that a pull asks for missing content: if it comes and is a manifest, its layers are on their way.

        Those come to be asked for next, which is when we look: there is nothing to wait for in between.
        """
        if not self._limits.keeps_nothing:
            self._expected.add(digest)
            self._has_news.set()

    def used(self, digest: Digest) -> None:
        """Note that a client got this content."""
        self._used.add(digest)

    # What is done about it

    @property
    def kept_bytes(self) -> int:
        return self._shelf.size_bytes

    @property
    def kept_layers(self) -> int:
        return len(self._shelf)

    async def run(self) -> NoReturn:
        """Keep up until cancelled; what is leased then stays so, for the agent that comes next."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._has_news.wait()
            self._has_news.clear()
            try:
                await self._keep_up()
            except ContentUnavailable as error:
                _log.debug("layers cannot be kept now: %s", error)
                self._is_new = True  # it may be another containerd that answers next
                self._has_news.set()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _keep_up(self) -> None:
        if not self._images.are_listed:
            return
        if self._limits.keeps_nothing:
            if self._is_new:
                await self._leases.release()
                self._is_new = False
        else:
            await self._adjust(clock.now())

    async def _adjust(self, now: float) -> None:
        if self._is_new:
            await self._adopt(now)
        self._shelf.touch(self._used, now)
        self._used.clear()
        coming = await self._coming()
        named = await self._named_layers()
        present = [layer for layer in named - self._named if await self._is_here(layer)]
        self._unnamed |= dict.fromkeys(coming, now + _UNNAMED_SECONDS)
        self._unnamed = {each: until for each, until in self._unnamed.items() if until > now and each not in named}
        self._named = named
        await self._let_go([layer for layer in self._shelf if layer not in named and layer not in self._unnamed])
        await self._let_go(self._shelf.overdue(now))
        await self._keep([*coming, *present], now)
        if self._has_garbage:
            await self._leases.collect()
            self._has_garbage = False
        await self._leases.renew(_by_namespace(self._shelf))

    async def _adopt(self, now: float) -> None:
        """Take over the layers that were kept before. The time for which they were unused is not known."""
        self._is_new = False
        self._shelf, self._named, self._of_image = Shelf(self._limits), frozenset(), {}
        for namespace, digests in (await self._leases.adopt()).items():
            for digest in digests:
                layer = await self._layers.present(digest, namespace)
                if layer is None:
                    await self._leases.remove(namespace, digest)
                else:
                    self._shelf.put(layer, now)
                    self._unnamed[layer] = now + _UNNAMED_SECONDS

    async def _coming(self) -> list[Layer]:
        """The layers of manifests that have come since containerd asked for them.

        An agent that waited for 160 manifests tried to open each of them after every request: 7 ms under the profiler.
        """
        if not self._layers.may_have_come() and not self._is_one_unsettled:
            return []
        found: list[Layer] = []
        self._is_one_unsettled = True  # until all have been looked at
        is_one_unsettled = False
        for digest in self._expected:
            if self._layers.is_absent(digest):
                continue
            for namespace in self._images.namespaces:
                with suppress(ContentNotFound):
                    if (layers := await self._layers.of(digest, namespace)) is not None:
                        self._expected.discard(digest)
                        found += layers
            is_one_unsettled |= digest in self._expected
        self._is_one_unsettled = is_one_unsettled
        return found

    async def _named_layers(self) -> frozenset[Layer]:
        """The layers of all images of this node. The agent finds out once which layers an image has."""
        keys = {(image.namespace, image.target.digest) for image in self._images}
        self._of_image = {key: layers for key, layers in self._of_image.items() if key in keys}
        for namespace, digest in keys - self._of_image.keys():
            with suppress(ContentNotFound):
                if (layers := await self._layers.of(digest, namespace)) is not None:
                    self._of_image[namespace, digest] = layers
        return frozenset().union(*self._of_image.values())

    async def _is_here(self, layer: Layer) -> bool:
        return await self._layers.present(layer.digest, layer.namespace) is not None

    async def _keep(self, layers: Iterable[Layer], now: float) -> None:
        new = [layer for layer in dict.fromkeys(layers) if layer not in self._shelf]
        leaving, fitting = self._shelf.room_for(new, now)
        await self._let_go(leaving)
        for layer in fitting:
            await self._leases.add(layer.namespace, layer.digest)
            self._shelf.put(layer, now)
        if fitting:
            _log.debug("%d layers are kept, %d bytes in all", len(fitting), self._shelf.size_bytes)

    async def _let_go(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            await self._leases.remove(layer.namespace, layer.digest)
            self._shelf.drop(layer)
            self._has_garbage = True


def _by_namespace(layers: Iterable[Layer]) -> Mapping[str, list[Digest]]:
    found: defaultdict[str, list[Digest]] = defaultdict(list)
    for layer in layers:
        found[layer.namespace].append(layer.digest)
    return found
