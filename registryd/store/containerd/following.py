"""Keeping up with containerd: everything it has at first and after every reconnect, then each change as it comes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from registryd.aio.unexpected import note_unexpected
from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.pb.containerd.content_pb2 import InfoRequest
from registryd.pb.containerd.events_pb2 import SubscribeRequest
from registryd.pb.containerd.images_pb2 import ImageCreate, ImageDelete, ImageUpdate
from registryd.store.containerd.images import get_image, list_images
from registryd.store.containerd.source_labels import sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.content.source import NamedContent
    from registryd.oci.reference import TaggedName
    from registryd.pb.containerd.types_pb2 import Envelope
    from registryd.store.containerd.connection import ContainerdConnection
    from registryd.store.containerd.images import Image, Images
    from registryd.store.containerd.reading import DocumentReader
    from registryd.store.containerd.route import Route

_IMAGE_EVENTS: Final[dict[str, type[ImageCreate | ImageUpdate | ImageDelete]]] = {
    "/images/create": ImageCreate,
    "/images/update": ImageUpdate,
    "/images/delete": ImageDelete,
}

# Documents of images that are gone are swept out together, once a tenth of the names has gone: a sweep visits all
# documents, which is 2 ms for a hundred images and 90 ms for five thousand.
_SWEEP_AT_SHARE: Final = 10

_log = logging.getLogger(__name__)


class Audience(Protocol):
    """A listener that looks at the images when there is news about them."""

    def listed(self) -> None:
        """Note that all images are known, perhaps of another containerd than before."""

    def changed(self) -> None:
        """One of them came, went or means something else."""


class Follower:
    """Keeps the agent's knowledge of images as containerd has them.

    The follower does not need events of content: the agent asks for content when a client wants it, and containerd has
    such events only since 2.1.
    """

    def __init__(  # noqa: PLR0913 - its parts, and who is told, all named
        self,
        connection: ContainerdConnection,
        *,
        route: Route,
        images: Images,
        reader: DocumentReader,
        audience: Audience | None = None,
        tell: Callable[[], None] = lambda: None,
        tell_version: Callable[[str], None] = lambda _version: None,
    ) -> None:
        """`tell` is called when an image may have come or gone, `tell_version` when containerd has said its own."""
        self._connection = connection
        self._timing = connection.timing
        self._audience = audience
        self._tell = tell
        self._tell_version = tell_version
        self._route = route
        self._images = images
        self._reader = reader
        self._has_caught_up = asyncio.Event()
        self._dropped = 0
        self._problem = "containerd has not been asked yet"

    async def wait_caught_up(self) -> None:
        """Return when everything was listed and events are coming in."""
        await self._has_caught_up.wait()

    async def check(self) -> None:
        """Return if it has caught up and containerd answers right now; raises StoreUnavailable otherwise."""
        if not self._has_caught_up.is_set():
            raise StoreUnavailable(self._problem)
        await self._version(timeout=self._timing.answer)

    async def look_up(self, name: TaggedName) -> list[NamedContent]:
        """Ask containerd what a name means that no event has told of yet. Raises StoreUnavailable."""
        spellings = dict.fromkeys((name.written, str(name)))
        for namespace, text in product(self._images.namespaces, spellings):
            image = await get_image(self._connection, namespace, text, timeout=self._timing.answer)
            if image is not None:
                self._images.put(await self._with_origin(image))
                await self._reader.walk(image.target.digest, namespace)
        return self._images.named(name)

    async def run(self) -> NoReturn:
        """Follow until cancelled, through restarts of containerd."""
        while True:
            try:
                await self._follow()
            except ContentUnavailable as error:
                self._lose(error)
            finally:
                self._has_caught_up.clear()
            await asyncio.sleep(self._timing.retry)

    async def _follow(self) -> NoReturn:
        # Subscribed before listing, so that no change falls between. Events that waited meanwhile only make us ask
        # containerd for images that we know already.
        async with self._connection.stream(self._connection.events.Subscribe, self._subscription()) as events:
            await asyncio.sleep(self._timing.subscription)
            await self._load()
            self._has_caught_up.set()
            self._tell()
            async for event in events:
                await self._apply_or_pass(event)
                self._tell()
        raise StoreUnavailable("containerd ended the stream of events")

    def _subscription(self) -> SubscribeRequest:
        filters = [
            f'namespace=="{where}",topic=="{topic}"' for where in self._images.namespaces for topic in _IMAGE_EVENTS
        ]
        return SubscribeRequest(filters=filters)

    async def _load(self) -> None:
        version = await self._version(timeout=self._timing.listing)
        self._tell_version(version)
        await self._route.choose()
        for namespace in self._images.namespaces:
            images = await list_images(self._connection, namespace)
            self._images.replace(namespace, [await self._with_origin(image) for image in images])
            for image in images:
                await self._walk(image, namespace)
        self._images.are_listed = True
        self._sweep()
        if self._audience:
            self._audience.listed()
        where = ", ".join(self._images.namespaces)
        _log.info("containerd %s answers, with %d image names in %s", version, len(self._images), where)

    async def _apply_or_pass(self, event: Envelope) -> None:
        """Apply the change of one image. An image that the agent cannot read does not stop the others."""
        try:
            await self._apply(event)
        except ContentUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whoever may pull an image may call it what they like
            note_unexpected("reading an image that containerd tells of", error)

    async def _walk(self, image: Image, namespace: str) -> None:
        try:
            await self._reader.walk(image.target.digest, namespace)
        except ContentUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            note_unexpected("reading an image that containerd has", error)

    async def _apply(self, event: Envelope) -> None:
        name = _image_name(event)
        # The event says what was; containerd says what is.
        image = await get_image(self._connection, event.namespace, name, timeout=self._timing.listing)
        if image is None:
            self._drop(event.namespace, name)
            return
        self._images.put(await self._with_origin(image))
        self._tell_of_change()
        await self._route.settle()
        await self._reader.walk(image.target.digest, image.namespace)

    async def _with_origin(self, image: Image) -> Image:
        """The image, and whether a user named it, as far as containerd tells that now."""
        if (repository := image.repository) is None:
            return image
        request = InfoRequest(digest=str(image.target.digest))
        try:
            answer = await self._connection.ask(
                self._connection.content.Info, request, namespace=image.namespace, timeout=self._timing.listing
            )
        except ContentNotFound:
            return image
        hosts = {host for host, _ in sources_of(answer.info.labels)}
        return replace(image, is_by_hand=repository.registry.hostname not in hosts)

    def _drop(self, namespace: str, name: str) -> None:
        self._images.drop(namespace, name)
        self._tell_of_change()
        self._dropped += 1
        if self._dropped * _SWEEP_AT_SHARE >= len(self._images):
            self._sweep()

    def _tell_of_change(self) -> None:
        if self._audience:
            self._audience.changed()

    def _sweep(self) -> None:
        self._dropped = 0
        self._reader.keep_only(self._images.targets())

    async def _version(self, *, timeout: float) -> str:
        return (await self._connection.ask(self._connection.version.Version, Empty(), timeout=timeout)).version

    def _lose(self, error: ContentUnavailable) -> None:
        if self._has_caught_up.is_set() or str(error) != self._problem:
            _log.warning("containerd cannot be followed, trying again: %s", error)
        self._problem = str(error)


def _image_name(event: Envelope) -> str:
    try:
        return _IMAGE_EVENTS[event.topic].FromString(event.event.value).name
    except (KeyError, DecodeError) as error:
        raise StoreUnavailable(f"containerd sent an event that cannot be read: {event.topic[:100]!r}") from error
