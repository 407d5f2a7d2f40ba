"""The parts of a pull-through cache, connected, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from registryd.agent.bandwidth import Bandwidth
from registryd.agent.credentials import make_token
from registryd.agent.doors import Doors, default_registry
from registryd.agent.exposure import as_member, check_exposure
from registryd.agent.upstream_files import unreadable_files
from registryd.aio.scope import open_scope
from registryd.caching import absences, remembering
from registryd.caching.absences import Absences
from registryd.caching.blobs import BlobOpener
from registryd.caching.bounds import Bounds
from registryd.caching.downloads import Downloads
from registryd.caching.filing import Claims, Filing
from registryd.caching.lists import CacheLists
from registryd.caching.locating import CacheLocator
from registryd.caching.manifests import Manifests
from registryd.caching.metrics import CacheMetrics
from registryd.caching.naming import TagFiling
from registryd.caching.patience import CachePatience
from registryd.caching.policy import CachePolicy
from registryd.caching.recollection import Recollection
from registryd.caching.referrers import Referrers
from registryd.caching.registries import Registries
from registryd.caching.remembering import PublicMemory
from registryd.caching.stored import StoredContent, StoredTags
from registryd.caching.tag_lists import TagLists
from registryd.caching.tags import Tags
from registryd.caching.upstreams import Upstreams
from registryd.caching.whole import Wholes
from registryd.config.agent import SettingsError
from registryd.content.entitlement import Entitlement
from registryd.content.naming_rules import NamingRules
from registryd.failures import CommandFailed
from registryd.notation import format_size
from registryd.observability.metrics import Metrics
from registryd.serving.admin import BODIES_AT, AdminDoor
from registryd.serving.readiness import Readiness
from registryd.serving.registry import RegistryDoor
from registryd.store.directory.bounded import open_bounded_store
from registryd.store.directory.layout import Layout
from registryd.store.directory.note import Note
from registryd.store.directory.space import SpaceLimits
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import open_client
from registryd.upstream.docker_config import DockerConfig
from registryd.upstream.public import Verdict, open_public_repositories
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from registryd.agent.membership import Joined
    from registryd.aio.scope import Scope
    from registryd.config.agent import Settings
    from registryd.notation import Address
    from registryd.oci.reference import Reference, Repository
    from registryd.serving.listener import Door
    from registryd.store.directory.bounded import BoundedStore
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.public import PublicRepositories

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024


class Cache:
    """A running cache, as its caller sees it."""

    def __init__(self, readiness: Readiness, door: Door, joined: Joined | None) -> None:
        self._readiness = readiness
        self._door = door
        self.joined = joined
        self.address = door.address

    async def wait_outdated(self) -> None:
        """A cache is what it is."""
        await asyncio.Event().wait()

    async def drain(self, seconds: float) -> None:
        """Take no new work and let what runs come to its end, at most so long."""
        self._readiness.lacks("the cache is stopping")
        async with asyncio.TaskGroup() as group:
            if self.joined:
                self.joined.drain(group, seconds)
            group.create_task(self._door.drain(seconds), name=f"drain {self.address}")


@asynccontextmanager
async def open_cache(settings: Settings, *, patience: CachePatience | None = None) -> AsyncIterator[Cache]:
    """A cache for the length of the block. Raises CommandFailed or ContentUnavailable, perhaps in an ExceptionGroup."""
    check_exposure(settings)
    async with AsyncExitStack() as stack:
        assembly = _Assembly(settings, stack, patience or CachePatience())
        await assembly.open_admin()
        async with open_scope() as scope:
            yield await assembly.assemble(scope)


class _Assembly:
    """The order in which parts are made; the stack takes them apart in reverse."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, patience: CachePatience) -> None:
        self._settings = settings
        self._rules = NamingRules(settings.authorization)
        self._patience = patience
        self._bandwidth = Bandwidth(settings)
        self._stack = stack
        self._doors = Doors(stack)
        self._clock = asyncio.get_running_loop().time
        self._metrics = Metrics()
        self._counted = CacheMetrics(self._metrics.page)
        self._readiness = Readiness(self._metrics)
        self._admin = AdminDoor(metrics=self._metrics, not_ready=self._readiness.missing)

    async def open_admin(self) -> None:
        """First, because probes ask while everything else starts."""
        await self._doors.open("admin.listen", self._settings.admin.listen, self._admin.handle, bodies_at=BODIES_AT)

    async def assemble(self, scope: Scope) -> Cache:
        """Build all other parts; their tasks run in the scope."""
        settings = self._settings
        store = await self._open_store()
        scope.serve(store.keep_measured, name="count what is stored")
        client = await self._open_client()
        registries = self._registries()
        public = await self._ask_upstreams(client, registries)
        await self._remember(scope, public, registries)
        policy = CachePolicy(self._rules, registries, _Public(public))
        upstreams = Upstreams(
            client,
            registries,
            metrics=self._counted,
            clock=self._clock,
            patience=self._patience,
            allowance=self._bandwidth.origin,
        )
        filing = Filing(store, Entitlement(self._rules, _anyones(registries, public.remembers_public)))
        naming = TagFiling(store, filing)
        bounds = Bounds(policy, seconds=settings.cache.first_byte_timeout)
        absent = await self._absences(scope, store, registries)
        locator, wholes, lists = self._pull_through(scope, store, bounds, registries, upstreams, naming, filing, absent)
        stored = self._stored(filing, bounds, naming)
        door = RegistryDoor(
            locator=locator,
            stored=stored,
            local=stored,
            default=default_registry(settings.registry),
            lists=lists,
            wholes=wholes,
            metrics=self._metrics,
            admission=make_token("cache.token_file", settings.cache.token_file, scope),
        )
        opened = await self._doors.open("cache.listen", settings.cache.listen, door.handle, context=self._tls())
        if self._bandwidth.may_change and not settings.cache.member:
            scope.serve(self._bandwidth.run, name="bandwidth")
        joined = await self._join(scope, store, registries, public) if settings.cache.member else None
        self._readiness.watch(store)
        self._metrics.follow_images(store.count_images)
        _log_start(settings, opened.address)
        return Cache(self._readiness, opened, joined)

    async def _join(
        self, scope: Scope, store: BoundedStore, registries: Registries, public: PublicRepositories
    ) -> Joined:
        """Give peers what is stored, as an agent does; nothing is fetched for them."""
        # Here, because a cache that is no member needs no gRPC.
        from registryd.agent.membership import Membership  # noqa: PLC0415

        settings = as_member(self._settings)
        entitlement = Entitlement(self._rules, _anyones(registries, public.vouches_for))
        membership = Membership(
            settings,
            store,
            entitlement,
            metrics=self._metrics,
            readiness=self._readiness,
            bandwidth=self._bandwidth,
        )
        joined = await membership.join(scope, self._doors, public)
        self._admin.show(joined.overview)
        return joined

    # the parts

    def _registries(self) -> Registries:
        upstreams = self._settings.upstreams
        docker = DockerConfig(upstreams.docker_config, clock=self._clock) if upstreams.docker_config else None
        return Registries(upstreams, self._settings.cache, docker)

    async def _open_store(self) -> BoundedStore:
        cache = self._settings.cache
        limits = SpaceLimits(cache.size_limit, cache.keep_free, cache.min_age, cache.pinned)
        opening = open_bounded_store(self._settings.store.directory, limits, self._counted)
        store = await self._stack.enter_async_context(opening)
        _require_room(self._settings)
        return store

    async def _open_client(self) -> RegistryClient:
        try:
            return await self._stack.enter_async_context(open_client(clock=self._clock))
        except ValueError as error:
            raise CommandFailed(f"the proxy in the environment cannot be used: {error}") from error

    async def _ask_upstreams(self, client: RegistryClient, registries: Registries) -> PublicRepositories:
        anonymous = AnonymousClient(client, registries.anonymous_endpoints)
        patience = self._settings.authorization.public_timeout
        return await self._stack.enter_async_context(open_public_repositories(anonymous, patience=patience))

    async def _remember(self, scope: Scope, public: PublicRepositories, registries: Registries) -> None:
        memory = PublicMemory(self._recollection(registries, "public", remembering.NOTE_BYTES), public)
        await memory.recall()
        scope.serve(memory.keep, name="what is public")

    async def _absences(self, scope: Scope, store: BoundedStore, registries: Registries) -> Absences:
        kept = Absences(store, self._recollection(registries, "absent", absences.NOTE_BYTES))
        await kept.recall()
        scope.serve(kept.keep, name="what is absent")
        return kept

    def _recollection(self, registries: Registries, kind: str, limit: int) -> Recollection:
        note = Note(Layout(self._settings.store.directory), f"{kind}.json", limit=limit)
        return Recollection(note, registries, kind=kind)

    def _pull_through(  # noqa: PLR0913, PLR0917 - the parts that meet here
        self,
        scope: Scope,
        store: BoundedStore,
        bounds: Bounds,
        registries: Registries,
        upstreams: Upstreams,
        naming: TagFiling,
        filing: Filing,
        absent: Absences,
    ) -> tuple[CacheLocator, Wholes, CacheLists]:
        counted, clock, patience = self._counted, self._clock, self._patience
        claims = Claims(store, upstreams)
        manifests = Manifests(
            store, upstreams, naming, filing=filing, claims=claims, scope=scope, metrics=counted, clock=clock
        )
        rule = (registries, upstreams, manifests, naming, absent)
        tags = Tags(*rule, scope=scope, metrics=counted, clock=clock, patience=patience)
        downloads = Downloads(upstreams, store, scope=scope, metrics=counted, clock=clock, patience=patience)
        blobs = BlobOpener(store, filing, claims, downloads, upstreams, metrics=counted, patience=patience)
        locator = CacheLocator(filing=filing, bounds=bounds, tags=tags, manifests=manifests, blobs=blobs)
        referrers = Referrers(
            filing, registries, upstreams, manifests, tags, naming, scope=scope, clock=clock, patience=patience
        )
        lists = CacheLists(bounds, referrers, TagLists(store, naming, registries, upstreams))
        return locator, Wholes(filing, manifests, blobs), lists

    @staticmethod
    def _stored(filing: Filing, bounds: Bounds, naming: TagFiling) -> CacheLocator:
        content = StoredContent(filing)
        return CacheLocator(filing=filing, bounds=bounds, tags=StoredTags(naming), manifests=content, blobs=content)

    def _tls(self) -> ssl.SSLContext | None:
        cache = self._settings.cache
        if cache.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(cache.tls_cert, cache.tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError("cache.tls_cert", f"cannot be used: {error.strerror or error}") from error
        return context


def _require_room(settings: Settings) -> None:
    """Refuse what would make a cache that never keeps anything; raises SettingsError."""
    status = os.statvfs(settings.store.directory)
    capacity = status.f_blocks * status.f_frsize
    if settings.cache.keep_free > capacity / 2:
        raise SettingsError(
            "cache.keep_free",
            f"{format_size(settings.cache.keep_free)} is more than half of the file system of "
            f"{settings.store.directory}, which has {capacity // _MIB} MiB; choose less",
        )


def _anyones(registries: Registries, is_public: Callable[[Repository], bool]) -> Callable[[Repository], bool]:
    """Whether a repository's content is for anyone: it came without a login, or its upstream said so."""
    return lambda repository: registries.is_anyones(repository.registry) or is_public(repository)


class _Public:
    """The upstream's word, as the policy asks for it."""

    def __init__(self, public: PublicRepositories) -> None:
        self._public = public

    async def is_public(self, repository: Repository, reference: Reference) -> bool:
        return await self._public.check(repository, reference) is Verdict.PUBLIC


def _log_start(settings: Settings, address: Address) -> None:
    if settings.cache.insecure:
        _log.warning("cache.insecure is set: anyone who reaches this cache can have the images that its logins open")
    for problem in unreadable_files(settings.upstreams):
        _log.warning("%s", problem)
    _log.info(
        "caching",
        extra={
            "version": VERSION,
            "registry": str(address),
            "store": str(settings.store.directory),
            "upstreams": ", ".join(sorted({*settings.upstreams.allow, *settings.upstreams.registries})),
        },
    )
