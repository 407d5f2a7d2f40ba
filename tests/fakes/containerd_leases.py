"""The leases of the fake containerd; namespaces are not told apart here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf.empty_pb2 import Empty

from registryd.pb.containerd import leases_pb2
from tests.fakes.containerd_api import unary

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.fakes.containerd_api import Context, Handler


class LeaseApi:
    """Keeps what leases hold in `fake.leases`; content need not be there."""

    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def services(self) -> dict[str, dict[str, Handler]]:
        return {
            "leases.v1.Leases": {
                "Create": unary(self._create, leases_pb2.CreateRequest),
                "Delete": unary(self._delete, leases_pb2.DeleteRequest),
                "List": unary(self._list, leases_pb2.ListRequest),
                "AddResource": unary(self._add, leases_pb2.AddResourceRequest),
                "DeleteResource": unary(self._remove, leases_pb2.DeleteResourceRequest),
                "ListResources": unary(self._resources, leases_pb2.ListResourcesRequest),
            }
        }

    async def _create(self, request: leases_pb2.CreateRequest, _context: Context) -> leases_pb2.CreateResponse:
        assert request.labels["containerd.io/gc.expire"]
        self._fake.leases[request.id] = set()
        self._fake.lease_labels[request.id] = dict(request.labels)
        return leases_pb2.CreateResponse(lease=leases_pb2.Lease(id=request.id))

    async def _delete(self, request: leases_pb2.DeleteRequest, context: Context) -> Empty:
        await self._require(request.id, context)
        del self._fake.leases[request.id]
        return Empty()

    async def _list(self, _request: leases_pb2.ListRequest, _context: Context) -> leases_pb2.ListResponse:
        ids = self._fake.leases
        return leases_pb2.ListResponse(
            leases=[leases_pb2.Lease(id=each, labels=self._fake.lease_labels.get(each)) for each in ids]
        )

    async def _add(self, request: leases_pb2.AddResourceRequest, context: Context) -> Empty:
        await self._require(request.id, context)
        assert request.resource.type == "content"
        self._fake.leases[request.id].add(request.resource.id)
        return Empty()

    async def _remove(self, request: leases_pb2.DeleteResourceRequest, context: Context) -> Empty:
        await self._require(request.id, context)
        self._fake.leases[request.id].discard(request.resource.id)
        return Empty()

    async def _resources(
        self, request: leases_pb2.ListResourcesRequest, context: Context
    ) -> leases_pb2.ListResourcesResponse:
        await self._require(request.id, context)
        found = self._fake.leases[request.id]
        return leases_pb2.ListResourcesResponse(resources=[leases_pb2.Resource(id=d, type="content") for d in found])

    async def _require(self, lease: str, context: Context) -> None:
        if lease not in self._fake.leases:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"lease {lease}: not found")
