"""List and watch over real HTTPS, against an API server that is slow, broken, hostile or gone."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.aio.backoff import Backoff
from registryd.cluster.members.discovery.kubernetes.account import ServiceAccount
from registryd.cluster.members.discovery.kubernetes.answers import Bookmark, Deleted, Stored
from registryd.cluster.members.discovery.kubernetes.api import LARGEST_PAGE, LONGEST_EVENT, Service, open_api
from registryd.cluster.members.discovery.kubernetes.discovery import KubernetesDiscovery, discovery_in_cluster
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, NotInCluster, VersionExpired
from registryd.notation import Address
from tests.fakes.certificates import server_tls
from tests.fakes.endpoint_slices import (
    NAMESPACE,
    PORT,
    PORT_NAME,
    SERVICE,
    InProcessSliceApi,
    Pod,
    delete_slice,
    put_slice,
    slice_document,
)
from tests.fakes.kubernetes_server import FakeApiServer, Refusal, running_api_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.cluster.members.discovery.kubernetes.answers import Event
    from registryd.cluster.members.discovery.kubernetes.api import SliceApi

ONE, TWO = (Address(f"10.0.0.{number}", PORT) for number in (1, 2))
TOKEN = "header.payload.signature"
OURS = Service(NAMESPACE, SERVICE, PORT_NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the kubelet mounts into a pod."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "namespace").write_text(NAMESPACE)
    return tmp_path


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[FakeApiServer]:
    fake = FakeApiServer(token=TOKEN)
    async with running_api_server(fake, folder):
        yield fake


def account_for(server: FakeApiServer, folder: Path) -> ServiceAccount:
    return ServiceAccount(Address.parse(server.url.removeprefix("https://")), folder)


@pytest.fixture
async def api(server: FakeApiServer, folder: Path) -> AsyncIterator[SliceApi]:
    async with open_api(account_for(server, folder), OURS) as client:
        yield client


@asynccontextmanager
async def watching(api: SliceApi, since: str = "100") -> AsyncIterator[asyncio.Queue[Event | Exception]]:
    """What a watch tells, and at last how it ended: an exception, EOFError for a clean end."""
    told: asyncio.Queue[Event | Exception] = asyncio.Queue()

    async def watch() -> None:
        try:
            async with aclosing(api.watch(since)) as events:
                async for event in events:
                    told.put_nowait(event)
            told.put_nowait(EOFError())
        except (ApiFailed, VersionExpired) as error:
            told.put_nowait(error)

    task = asyncio.create_task(watch(), name="watch")
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait({task})


# The contract, on the fake and on the real thing


@pytest.fixture(params=["in process", "https"])
async def either(request: pytest.FixtureRequest, server: FakeApiServer, api: SliceApi) -> SliceApi:
    return api if request.param == "https" else InProcessSliceApi(server.cluster)


async def test_a_list_has_our_slices_and_a_version_to_watch_from(server: FakeApiServer, either: SliceApi) -> None:
    put_slice(server.cluster, "a", Pod("10.0.0.1"))
    put_slice(server.cluster, "theirs", Pod("10.0.0.2"), service="other")
    page = await either.list_page()
    assert [(each.name, {e.address for e in each.endpoints}) for each in page.slices] == [("a", {ONE})]
    assert (page.version, page.following) == ("102", "")


async def test_a_watch_tells_what_has_changed_since_then_and_what_changes_now(
    server: FakeApiServer, either: SliceApi
) -> None:
    put_slice(server.cluster, "a", Pod("10.0.0.1"))
    async with watching(either) as told:
        event = await told.get()
        assert isinstance(event, Stored)
        assert event.version == "101"
        delete_slice(server.cluster, "a")
        assert await told.get() == Deleted("a", "102")
        put_slice(server.cluster, "theirs", Pod("10.0.0.2"), service="other")
        server.cluster.bookmark()
        assert await told.get() == Bookmark("103")
        server.cluster.end_watches()
        assert isinstance(await told.get(), EOFError)


async def test_a_version_that_is_too_old_has_expired(server: FakeApiServer, either: SliceApi) -> None:
    put_slice(server.cluster, "a", Pod("10.0.0.1"))
    server.cluster.compact()
    async with watching(either) as told:
        assert isinstance(await told.get(), VersionExpired)


# Only over HTTP


async def test_lists_are_paged_when_they_are_fresh(
    server: FakeApiServer, api: SliceApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.cluster.members.discovery.kubernetes.api._PAGE_ITEMS", 2)
    for number in range(3):
        put_slice(server.cluster, f"s{number}", Pod(f"10.0.0.{number}"))
    assert len((await api.list_page()).slices) == 3
    first = await api.list_page(fresh=True)
    second = await api.list_page(following=first.following)
    assert [each.name for each in (*first.slices, *second.slices)] == ["s0", "s1", "s2"]
    server.cluster.compact()
    put_slice(server.cluster, "s9", Pod("10.0.0.9"))
    server.cluster.compact()
    with pytest.raises(VersionExpired):
        await api.list_page(following=first.following)


async def test_a_watch_that_breaks_in_the_middle_of_a_line_has_failed(server: FakeApiServer, api: SliceApi) -> None:
    async with watching(api) as told:
        await server.wait_watched()
        put_slice(server.cluster, "a", Pod("10.0.0.1"))
        assert isinstance(await told.get(), Stored)
        await server.send_raw(b'{"type": "DELETED", "object": {"metadata": {"na')
        server.reset_watches()
        assert isinstance(await told.get(), ApiFailed)


async def test_half_a_line_at_a_clean_end_is_not_an_event(server: FakeApiServer, api: SliceApi) -> None:
    async with watching(api) as told:
        await server.wait_watched()
        await server.send_raw(b'{"type": "DELETED", "object": {"metadata": {"na')
        server.cluster.end_watches()
        assert isinstance(await told.get(), EOFError)


async def test_events_may_arrive_in_any_portions(server: FakeApiServer, api: SliceApi) -> None:
    documents = [slice_document(name, Pod("10.0.0.1")) for name in "abc"]
    for number, document in enumerate(documents):
        document["metadata"]["resourceVersion"] = str(number + 1)
    lines = b"".join(json.dumps({"type": "ADDED", "object": each}).encode() + b"\n" for each in documents)
    async with watching(api) as told:
        await server.wait_watched()
        for portion in (lines[:7], lines[7:900], lines[900:]):
            await server.send_raw(portion)
            await asyncio.sleep(0.01)
        assert [(await told.get()).version for _ in documents] == ["1", "2", "3"]  # type: ignore[union-attr]


async def test_a_line_without_end_is_not_kept_in_memory(server: FakeApiServer, api: SliceApi) -> None:
    async with watching(api) as told:
        await server.wait_watched()
        await server.send_raw(b"x" * (LONGEST_EVENT + 1))
        error = await told.get()
        assert isinstance(error, ApiFailed)
        assert "without a newline" in str(error)


async def test_a_list_without_end_is_not_kept_in_memory(server: FakeApiServer, api: SliceApi) -> None:
    server.list_body = b" " * (LARGEST_PAGE + 1)
    with pytest.raises(ApiFailed, match="more than"):
        await api.list_page()


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refusal(403, b'{"kind": "Status", "message": "endpointslices is forbidden"}'), "403: endpointslices is forb"),
        (Refusal(500, b"<html>not JSON"), "answered 500$"),
        (Refusal(503, b"\xff" * 100_000), "answered 503$"),
        (Refusal(302, headers={"Location": "https://elsewhere.example/"}), "answered 302$"),
        (Refusal(200, b"not JSON"), "no answer"),
    ],
    ids=lambda value: value.status if isinstance(value, Refusal) else "",
)
async def test_a_refusal_says_why(server: FakeApiServer, api: SliceApi, refusal: Refusal, reason: str) -> None:
    server.refusal = refusal
    with pytest.raises(ApiFailed, match=reason):
        await api.list_page()


async def test_a_watch_may_be_refused_as_gone(server: FakeApiServer, api: SliceApi) -> None:
    server.refusal = Refusal(410)
    async with watching(api) as told:
        assert isinstance(await told.get(), VersionExpired)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("9" * 30, 0.0)])
async def test_a_busy_server_says_for_how_long(
    server: FakeApiServer, api: SliceApi, header: str, seconds: float
) -> None:
    server.refusal = Refusal(429, headers={"Retry-After": header})
    with pytest.raises(ApiFailed) as caught:
        await api.list_page()
    assert caught.value.retry_after == seconds


async def test_the_token_is_read_anew_for_every_request(server: FakeApiServer, api: SliceApi, folder: Path) -> None:
    await api.list_page()
    server.token = "the.next.one"
    with pytest.raises(ApiFailed, match="401"):
        await api.list_page()
    (folder / "token").write_text(server.token)
    await api.list_page()


async def test_an_authority_that_is_exchanged_is_trusted_from_then_on(folder: Path) -> None:
    fake = FakeApiServer(token=TOKEN)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_api_server(fake, folder))
        trusted = (folder / "ca.crt").read_bytes()
        server_tls(folder, "127.0.0.1", generation=1)
        client = await stack.enter_async_context(open_api(account_for(fake, folder), OURS))
        with pytest.raises(ApiFailed, match="certificate"):
            await client.list_page()
        (folder / "ca.crt").write_bytes(trusted)
        await client.list_page()


@pytest.mark.parametrize("name", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff"])
async def test_files_that_make_no_sense_are_a_failure_that_may_pass(
    server: FakeApiServer, api: SliceApi, folder: Path, name: str, content: bytes | None
) -> None:
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ApiFailed, match=str(path)):
        await api.list_page()


async def test_a_server_that_is_not_there_is_a_failure(folder: Path) -> None:
    fake = FakeApiServer()
    async with running_api_server(fake, folder):
        pass
    async with open_api(account_for(fake, folder), OURS) as client:
        with pytest.raises(ApiFailed, match=r"^127.0.0.1:\d+: Connection refused$"):
            await client.list_page()


async def test_ipv6(folder: Path) -> None:
    fake = FakeApiServer(token=TOKEN)
    async with running_api_server(fake, folder, host="::1"), open_api(account_for(fake, folder), OURS) as client:
        await client.list_page()


async def test_what_is_asked_is_one_service_in_one_namespace(server: FakeApiServer, api: SliceApi) -> None:
    await api.list_page()
    async with watching(api, "7"):
        await server.wait_watched()
    listed, watched = server.requests
    assert listed.path == f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
    assert dict(listed.query) == {
        "labelSelector": f"kubernetes.io/service-name={SERVICE}",
        "limit": "500",
        "resourceVersion": "0",
    }
    assert watched.query["resourceVersion"] == "7"
    assert watched.query["allowWatchBookmarks"] == "true"
    assert listed.headers["Accept-Encoding"] == "identity"


async def test_all_together(server: FakeApiServer, folder: Path) -> None:
    account = account_for(server, folder)
    backoff = Backoff(first=0.01, longest=0.05)
    discovery = KubernetesDiscovery(lambda: open_api(account, OURS), subject="test", prefer=4, backoff=backoff)
    put_slice(server.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(discovery.watch()) as changes:
        assert await anext(changes) == {ONE}
        await server.wait_watched()
        server.reset_watches()
        put_slice(server.cluster, "b", Pod("10.0.0.2", "node-b"))
        assert await anext(changes) == {ONE, TWO}


# The pod


async def test_a_pod_knows_its_api_server_and_namespace(server: FakeApiServer, folder: Path) -> None:
    address = Address.parse(server.url.removeprefix("https://"))
    environment = {"KUBERNETES_SERVICE_HOST": address.host, "KUBERNETES_SERVICE_PORT": str(address.port)}
    account = ServiceAccount.of_this_pod(environment, folder=folder)
    assert (account.server, account.namespace()) == (address, NAMESPACE)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
        {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"},
        {"KUBERNETES_SERVICE_HOST": "10.96.0.1/x", "KUBERNETES_SERVICE_PORT": "443"},
    ],
)
def test_outside_of_a_cluster_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(NotInCluster, match="not in a pod"):
        discovery_in_cluster(
            namespace="", service_name=SERVICE, port_name=PORT_NAME, advertise="", environment=environment
        )


def test_a_pod_without_a_token_is_told_what_may_be_off(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(NotInCluster, match="automountServiceAccountToken"):
        ServiceAccount.of_this_pod(environment, folder=tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"../other", b"UPPER", b"\xff"])
def test_a_namespace_that_is_none_is_refused(folder: Path, content: bytes | None) -> None:
    (folder / "namespace").unlink()
    if content is not None:
        (folder / "namespace").write_bytes(content)
    account = ServiceAccount(Address("10.96.0.1", 443), folder)
    with pytest.raises(NotInCluster):
        account.namespace()
