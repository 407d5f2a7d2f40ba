"""Puts the store together and keeps it going for the length of a block."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.scope import open_scope
from registryd.store.containerd.askings import Askings
from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.documents import Documents
from registryd.store.containerd.following import Follower
from registryd.store.containerd.holdings import Holdings
from registryd.store.containerd.images import Images
from registryd.store.containerd.ingests import IngestEvents, Ingests
from registryd.store.containerd.keepable import KeepableImages
from registryd.store.containerd.keeping import LayerKeeper
from registryd.store.containerd.layers import UnkeptLayers
from registryd.store.containerd.leases import Leases
from registryd.store.containerd.newcomers import ContainerdNewcomers
from registryd.store.containerd.origins import Origins
from registryd.store.containerd.presence import Presence
from registryd.store.containerd.reading import DocumentReader
from registryd.store.containerd.route import Route
from registryd.store.containerd.shelf import KeptLayersLimits
from registryd.store.containerd.store import ContainerdStore
from registryd.store.containerd.timing import Timing
from registryd.store.growing import GrowingFiles
from registryd.store.socket import socket_of
from registryd.store.stocktaking import Stocktaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.config.agent import StoreSettings


@asynccontextmanager
async def connect_containerd_store(
    settings: StoreSettings, *, timing: Timing | None = None
) -> AsyncIterator[ContainerdStore]:
    """A store that follows the containerd behind the settings' socket until the block ends.

    Does not wait for containerd, which may be away and come back at any time: `wait_ready` does. If following ends by
    a fault of ours, the block is cancelled and an ExceptionGroup raised (see `registryd.aio.scope`).
    """
    connection = ContainerdConnection(socket_of(settings), timing or Timing())
    try:
        async with open_scope() as scope:
            store, follower, keeper, looks = _assemble(connection, settings)
            scope.serve(follower.run, name="follow containerd")
            scope.serve(keeper.run, name="keep layers")
            with closing(looks[0]), closing(looks[1]), closing(store.arrivals):
                yield store
    finally:
        await connection.aclose()


def _assemble(
    connection: ContainerdConnection, settings: StoreSettings
) -> tuple[ContainerdStore, Follower, LayerKeeper, tuple[Stocktaking, Stocktaking]]:
    namespaces = settings.namespaces
    route = Route(connection, namespaces=namespaces, configured_root=settings.containerd_root)
    documents = Documents()
    reader = DocumentReader(documents, route)
    images = Images(namespaces)
    keeper = LayerKeeper(
        images,
        UnkeptLayers(connection, route),
        Leases(connection, namespaces),
        limits=KeptLayersLimits(settings.keep_layers, settings.keep_layers_age),
    )
    ingests = Ingests(route, namespaces)
    growing = GrowingFiles(ingests.open, reader.known_media_type)
    growing.inflows.sure.may_come_in_chunks = True  # unless its version says otherwise
    looks = Stocktaking(growing.events), Stocktaking(growing.events)
    askings = Askings(ingests, lambda digest: growing.inflows.of(digest) is not None)

    keepable = KeepableImages(connection, images, socket_of(settings), settings.containerd_root)

    def tell() -> None:
        for look in looks:
            look.tell()
        keepable.tell()

    follower = Follower(
        connection,
        route=route,
        images=images,
        reader=reader,
        audience=keeper,
        tell=tell,
        tell_version=growing.inflows.sure.learn_version,
    )
    presence = Presence(connection, namespaces)
    take = partial(Holdings, route, images=images, reader=reader, ingests=ingests)
    store = ContainerdStore(
        presence=presence,
        origins=Origins(presence, images, documents, askings),
        askings=askings,
        ingests=ingests,
        route=route,
        reader=reader,
        images=images,
        growing=growing,
        follower=follower,
        keeper=keeper,
        holdings=take(stocktaking=looks[0]),
        arrivals=IngestEvents(route, growing.events),
        newcomers=ContainerdNewcomers(take(stocktaking=looks[1]), presence),
        keepable=keepable,
    )
    return store, follower, keeper, looks
