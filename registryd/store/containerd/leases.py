"""The lease that keeps content from containerd's garbage collector: one in each namespace, renewed while we live."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.pb.containerd import leases_pb2
from registryd.store.containerd.errors import AlreadyExists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from registryd.store.containerd.connection import ContainerdConnection

EXPIRES: Final = "containerd.io/gc.expire"
_PREFIX: Final = "registryd-layers-"
_CONTENT: Final = "content"
# Only for an agent that dies and is never started again: what it kept is gone the day after.
_LIFETIME: Final = timedelta(hours=24)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Lease:
    id: str
    expires_at: datetime


class Leases:
    """The leases of this agent in containerd. Every method raises StoreUnavailable."""

    def __init__(
        self, connection: ContainerdConnection, namespaces: Sequence[str], *, clock: Callable[[], datetime] = _now
    ) -> None:
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._clock = clock
        self._current: dict[str, _Lease] = {}

    async def adopt(self) -> Mapping[str, frozenset[Digest]]:
        """Go on with what an agent before us left, by namespace; of several leases the last to expire goes on."""
        self._current = {}
        kept = {}
        for namespace in self._namespaces:
            found = sorted(await self._list(namespace), key=lambda lease: lease.expires_at)
            contents = [await self._contents(namespace, lease) for lease in found]
            kept[namespace] = frozenset().union(*contents)
            if found:
                self._current[namespace] = found[-1]
                await self._fill(namespace, kept[namespace] - contents[-1])
                await self._delete(namespace, found[:-1])
        return kept

    async def add(self, namespace: str, digest: Digest) -> None:
        """Lease content, which need not be there yet. Raises ContentNotFound if another program removed the lease."""
        if namespace not in self._current:
            self._current[namespace] = await self._create(namespace)
        await self._fill(namespace, [digest])

    async def remove(self, namespace: str, digest: Digest) -> None:
        """Leave content to the garbage collector; not being kept already is fine."""
        if lease := self._current.get(namespace):
            request = leases_pb2.DeleteResourceRequest(id=lease.id, resource=_resource(digest))
            with suppress(ContentNotFound):
                await self._connection.change(self._connection.leases.DeleteResource, request, namespace=namespace)

    async def collect(self) -> None:
        """Have containerd collect its garbage now: that a lease holds less is no occasion for it, that one ends is."""
        namespace = self._namespaces[0]
        lease = await self._create(namespace)
        await self._delete(namespace, [lease], is_last=True)

    async def renew(self, kept: Mapping[str, Iterable[Digest]]) -> None:
        """Put what is kept under a new lease where half of the old one's time is over: leases cannot be changed."""
        for namespace, old in list(self._current.items()):
            if old.expires_at - self._clock() > _LIFETIME / 2:
                continue
            contents = tuple(kept.get(namespace, ()))
            if contents:
                self._current[namespace] = await self._create(namespace)
                await self._fill(namespace, contents)
            else:
                del self._current[namespace]
            await self._delete(namespace, [old])

    async def release(self) -> int:
        """Let go of everything that any agent of this node keeps; how many leases that were."""
        count = 0
        for namespace in self._namespaces:
            found = await self._list(namespace)
            await self._delete(namespace, found, is_last=True)
            count += len(found)
        self._current = {}
        return count

    async def _list(self, namespace: str) -> list[_Lease]:
        answer = await self._connection.ask(
            self._connection.leases.List,
            leases_pb2.ListRequest(),
            namespace=namespace,
            timeout=self._connection.timing.listing,
        )
        ours = (lease for lease in answer.leases if lease.id.startswith(_PREFIX))
        return [_Lease(lease.id, _time(lease.labels.get(EXPIRES, ""))) for lease in ours]

    async def _contents(self, namespace: str, lease: _Lease) -> frozenset[Digest]:
        request = leases_pb2.ListResourcesRequest(id=lease.id)
        answer = await self._connection.ask(
            self._connection.leases.ListResources,
            request,
            namespace=namespace,
            timeout=self._connection.timing.listing,
        )
        digests = set()
        for resource in answer.resources:
            with suppress(DigestInvalid):
                digests.add(Digest.parse(resource.id))
        return frozenset(digests)

    async def _create(self, namespace: str) -> _Lease:
        lease = _Lease(f"{_PREFIX}{secrets.token_hex(8)}", self._clock() + _LIFETIME)
        labels = {EXPIRES: lease.expires_at.isoformat(timespec="seconds")}
        request = leases_pb2.CreateRequest(id=lease.id, labels=labels)
        await self._connection.change(self._connection.leases.Create, request, namespace=namespace)
        return lease

    async def _fill(self, namespace: str, digests: Iterable[Digest]) -> None:
        for digest in digests:
            request = leases_pb2.AddResourceRequest(id=self._current[namespace].id, resource=_resource(digest))
            with suppress(AlreadyExists):
                await self._connection.change(self._connection.leases.AddResource, request, namespace=namespace)

    async def _delete(self, namespace: str, leases: Iterable[_Lease], *, is_last: bool = False) -> None:
        """Delete the leases. With `is_last`, containerd collects the content that they held before it answers."""
        for lease in leases:
            with suppress(ContentNotFound):
                request = leases_pb2.DeleteRequest(id=lease.id, sync=is_last)
                await self._connection.change(self._connection.leases.Delete, request, namespace=namespace)


def _resource(digest: Digest) -> leases_pb2.Resource:
    return leases_pb2.Resource(id=str(digest), type=_CONTENT)


def _time(text: str) -> datetime:
    """The time that a label tells. A time that cannot be read has passed."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
