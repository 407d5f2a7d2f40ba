"""containerd behind a Unix socket, with content in files as containerd keeps it, and a choice of faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from registryd.oci.digest import Digest
from registryd.oci.reference import Repository
from registryd.pb.containerd import images_pb2, types_pb2
from tests.fakes.containerd_api import Api, Faults
from tests.fakes.containerd_faults import Fault
from tests.fakes.containerd_leases import LeaseApi
from tests.fakes.containerd_writes import WriteApi

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from google.protobuf.message import Message

    from registryd.oci.descriptor import Descriptor
    from tests.fakes.images import SampleImage


class FakeContainerd:
    """Content, images and events of any number of namespaces; state survives `stop` and `start`.

    `root` is the content plugin's folder. `told_root` is what introspection says; None: it does not say.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "containerd.sock"
        self.root = folder / "content"
        self.told_root: Path | None = self.root
        self.fault = Fault.NONE
        self.calls: Counter[str] = Counter()
        self.lease_calls: Counter[str] = Counter()
        self.reads_under_way = 0
        self.content: dict[str, dict[str, None]] = defaultdict(dict)
        self.labels: dict[str, dict[str, str]] = {}
        self.ingests: dict[str, bytearray] = {}
        self.leases: dict[str, set[str]] = {}
        self.lease_labels: dict[str, dict[str, str]] = {}
        self.images: dict[str, dict[str, images_pb2.Image]] = defaultdict(dict)
        self.subscribers: dict[asyncio.Queue[types_pb2.Envelope | None], set[tuple[str, str]]] = {}
        self._server: grpc.aio.Server | None = None

    # Its life

    async def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._server = grpc.aio.server(interceptors=[Faults(self)])
        services = Api(self).services()
        for more in (WriteApi(self).services(), LeaseApi(self).services()):
            services = {name: services.get(name, {}) | more.get(name, {}) for name in {**services, **more}}
        for service, methods in services.items():
            handler = grpc.method_handlers_generic_handler(f"containerd.services.{service}", methods)
            self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix://{self.socket}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(None)
            self._server = None
            self.socket.unlink(missing_ok=True)

    # What its clients do to it

    def path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.encoded

    def put_blob(self, data: bytes, *, namespace: str = "k8s.io", digest: Digest | None = None) -> Digest:
        """`digest` says another name than the data's own."""
        digest = digest or Digest.of(data)
        self.path(digest).parent.mkdir(parents=True, exist_ok=True)
        self.path(digest).write_bytes(data)
        self.content[namespace][str(digest)] = None
        return digest

    def drop_blob(self, digest: Digest, *, namespace: str = "k8s.io") -> None:
        """The file goes when no namespace refers to it any more."""
        self.content[namespace].pop(str(digest), None)
        if not any(str(digest) in content for content in self.content.values()):
            self.path(digest).unlink(missing_ok=True)

    def put_image(self, name: str, target: Descriptor, *, namespace: str = "k8s.io") -> None:
        topic = "/images/update" if name in self.images[namespace] else "/images/create"
        image = images_pb2.Image(name=name)
        image.target.media_type, image.target.digest = target.media_type, str(target.digest)
        image.target.size = target.size
        image.updated_at.GetCurrentTime()
        self.images[namespace][name] = image
        self.publish(topic, images_pb2.ImageCreate(name=name), namespace=namespace)

    def drop_image(self, name: str, *, namespace: str = "k8s.io") -> None:
        self.images[namespace].pop(name, None)
        self.publish("/images/delete", images_pb2.ImageDelete(name=name), namespace=namespace)

    def put(self, image: SampleImage, *, namespace: str = "k8s.io") -> None:
        """Content first, then the names that CRI gives."""
        for data in image.blobs.values():
            self.put_blob(data, namespace=namespace)
        self.put_image(str(image.name), image.target, namespace=namespace)
        self.put_image(f"{image.name.repository}@{image.target.digest}", image.target, namespace=namespace)

    def pulled(self, image: SampleImage, *, name: str = "", namespace: str = "k8s.io") -> None:
        """As a pull leaves it: labelled with where it is from, `name` if that is not the image's own."""
        repository = Repository.parse(name.rpartition(":")[0]) if name else image.name.repository
        for digest in image.blobs:
            self.label(digest, repository)
        for data in image.blobs.values():
            self.put_blob(data, namespace=namespace)
        self.put_image(name or str(image.name), image.target, namespace=namespace)

    def label(self, digest: Digest, repository: Repository) -> None:
        """As a pull from that repository does; the port is left out."""
        labels = self.labels.setdefault(str(digest), {})
        key = f"containerd.io/distribution.source.{repository.registry.hostname}"
        labels[key] = ",".join(filter(None, (labels.get(key), repository.path)))

    def remove(self, image: SampleImage, *, namespace: str = "k8s.io") -> None:
        self.drop_image(str(image.name), namespace=namespace)
        self.drop_image(f"{image.name.repository}@{image.target.digest}", namespace=namespace)
        for digest in image.blobs:
            self.drop_blob(digest, namespace=namespace)

    def publish(self, topic: str, event: Message, *, namespace: str = "k8s.io", as_topic: str = "") -> None:
        """`as_topic` sends those who wait for `topic` an event that they did not ask for."""
        # containerd's type URLs have no host part.
        packed = AnyMessage(type_url=event.DESCRIPTOR.full_name, value=event.SerializeToString())
        envelope = types_pb2.Envelope(namespace=namespace, topic=as_topic or topic, event=packed)
        self._send(envelope, (namespace, topic))

    def publish_garbage(self) -> None:
        """An event whose payload cannot be read."""
        event = AnyMessage(type_url="containerd.services.images.v1.ImageCreate", value=b"\xff\xff")
        self._send(types_pb2.Envelope(topic="/images/create", event=event), ("k8s.io", "/images/create"))

    def end_subscriptions(self) -> None:
        for queue in self.subscribers:
            queue.put_nowait(None)

    def _send(self, envelope: types_pb2.Envelope, key: tuple[str, str]) -> None:
        for queue, wanted in self.subscribers.items():
            if key in wanted:
                queue.put_nowait(envelope)


@asynccontextmanager
async def running_fake(folder: Path) -> AsyncIterator[FakeContainerd]:
    """A fake that is listening, for the length of the block."""
    fake = FakeContainerd(folder)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
