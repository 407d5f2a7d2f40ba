"""All layers that are being taken in, and containerd's requests for them.

The agent takes a layer in as soon as containerd has begun an ingest for it, which since 2.1 is before containerd asks
for the layer. So this node gets the layers in the order in which other nodes receive them, whatever containerd's own
order is.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.bound import off_the_clock
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.fetch.intake import Intake, State, Urgency
from registryd.cluster.fetch.opening import SMALL_BYTES
from registryd.cluster.fetch.places import Places, Pressed
from registryd.content.asker import AskAgain, current_asker
from registryd.content.growing import arriving_or_none
from registryd.content.sought import Sought
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractContextManager
    from typing import Any, NoReturn

    from registryd.aio.file_events import Changes
    from registryd.aio.scope import Job
    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.intake import Finder
    from registryd.cluster.fetch.pulls import Blob, ExpectedPull, Pulls
    from registryd.content.growing import Arrivals
    from registryd.content.source import Content, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.transfer.inflow import Inflow, InflowMemory, Inflows
    from registryd.transfer.sink import Sink

    Run = Callable[[Job], asyncio.Task[Any]]

# Since 2.3 containerd goes to its next host after 30 s without a response head, so that one is sent before that; the
# wait goes on behind it.
_HEAD_SECONDS: Final = 20.0
# Less than containerd 1.7 lets a pull stand still for, which is a minute.
_BELIEVED_SECONDS: Final = 45.0
# Since 2.0 that is five minutes. A source that must not give what it has yet, but has more and more of it, is believed
# for so long: enough for 1.2 GB at 100 Mbit/s.
_MOVING_SECONDS: Final = 120.0
# Ingests of one image begin one after the other, each with an event.
_BATCH_SECONDS: Final = 0.005
# Layers under way, of all images together. While there are so many, others are taken in when they are asked for.
_MOST_AHEAD: Final = 64
# A request that has just been given what flows in may not have begun to read it.
_FRESH_SECONDS: Final = 1.0
# States in which an intake has nothing to give and nothing under way.
_ENDED: Final = frozenset({State.OVER, State.SENT_AWAY})
# The states in which bytes may still come, and the states in which the sources are known.
_BEFORE_FLOWING: Final = frozenset({State.SEEKING, State.OURS})
_SETTLED: Final = frozenset({State.ELSEWHERE, State.SENT_AWAY})


class Intakes:
    """Takes layers in for containerd, ahead of its requests where these can be seen coming."""

    def __init__(  # noqa: PLR0913 - its parts and numbers, all named
        self,
        finder: Finder,
        pulls: Pulls,
        own: Arrivals,
        inflows: Inflows,
        *,
        fetch_wait: float,
        run: Run,
        await_manifest: Callable[[Sought], Coroutine[Any, Any, None]] | None = None,
        asked: Callable[[Sought], bool] = lambda _: True,
    ) -> None:
        """`fetch_wait`: how long, in seconds, a request may wait while nothing else flows in.

        `run` runs a task as long as the agent lives. `await_manifest` looks into small content that containerd fetches
        from the origin. `asked` notes for which name something is arriving; whether it is of that registry.
        """
        self._asked = asked
        self._finder = finder
        self._pulls = pulls
        self._own = own
        self._inflows = inflows
        self._fetch_wait = fetch_wait
        self._run = run
        self._await_manifest = await_manifest
        self._intakes: dict[Digest, Intake] = {}
        self._tasks: dict[Digest, asyncio.Task[Any]] = {}
        self._intended: dict[Digest, float] = {}
        self.places = Places(own, self)

    # What its places want to know

    def to_be_asked(self) -> Mapping[Digest, float]:
        """Layers that containerd will be told to fetch when it asks, and since when that is known."""
        return {digest: one.since for digest, one in self._intakes.items() if one.state is State.OURS} | self._intended

    def is_idle(self) -> bool:
        """Whether containerd is being sent nothing, though much is here that it does not ask for."""
        inflows = [one.inflow for one in self._intakes.values() if one.inflow is not None]
        if self._inflows.memory.is_roomy:
            return False
        return any(one.is_left_waiting for one in inflows) and not any(one.is_being_sent for one in inflows)

    # containerd's requests

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent | ClaimReply | None:
        """The layer as it is taken in; or its sources, perhaps none; None when a search has to find them.

        Raises AskAgain, ContentNotFound for a layer that took too long, RangeInvalid.
        """
        asker, digest = current_asker(), sought.digest
        self._intended.pop(digest, None)
        self._pulls.asked(digest, lines_up=asker is not None and asker.lines_up)
        content = await arriving_or_none(self._own, digest)
        if content is None or content.size <= SMALL_BYTES:
            return None
        span = wanted(content.size)
        intake = self._intakes.get(digest)
        if intake is not None and not _is_of_same_registry(intake.sought, sought):
            self._drop(digest)  # what was taken in for another name is nothing to give for this one
            intake = None
        if not self._asked(sought):
            return None
        if intake is None or intake.state in _ENDED:
            intake = self._begin(sought, content.size)
        intake.ask(Urgency.ASKED)
        request = _Request(intake, content, span, self)
        try:
            with off_the_clock():
                async with self.places.waiting(digest, content.size, span.start):
                    return await request.wait(
                        _Patience(self._fetch_wait, self._inflows.memory, intake), head_after=_HEAD_SECONDS
                    )
        except (Pressed, TookTooLong):
            intake.ask(Urgency.PRESSED)
            raise

    def flowing(self) -> list[Sought]:
        """The inflows of this node now."""
        return [intake.sought for intake in self._intakes.values() if intake.state is State.FLOWING]

    async def adopt(self, sought: Sought, opened: OpenContent) -> OpenContent:
        """Take in content that another node is receiving and that containerd has asked for, so that others can follow.

        The agent does not do this if no node could follow from here, or if another request already gets this content.
        """
        digest = sought.digest
        try:
            is_followed = await arriving_or_none(self._own, digest) is not None
        except BaseException:
            await opened.body.aclose()
            raise
        if not is_followed or self._is_in_use(digest) or not self._asked(sought):
            return opened
        intake = self._make(sought, opened.content.size)
        intake.give(opened.body)
        self._keep(intake, partial(intake.take, opened.span))
        return _Request(intake, opened.content, opened.span, self).opened(None)

    def _is_in_use(self, digest: Digest) -> bool:
        """Whether a request is being given what flows in."""
        intake = self._intakes.get(digest)
        if intake is None or intake.inflow is None or intake.state is not State.FLOWING:
            return False
        age = asyncio.get_running_loop().time() - intake.since
        return intake.inflow.is_being_read or age < _FRESH_SECONDS

    def present(self) -> AbstractContextManager[None]:
        """While containerd's request is being answered."""
        return self.places.present()

    def sent_away(self, sought: Sought, reason: ContentUnavailable) -> None:
        """Note that containerd goes to the origin for it, for that reason."""
        if not isinstance(reason, Pressed | TookTooLong):  # nobody waits for what is fetched besides
            self.places.promise(sought.digest)
        if self._await_manifest is not None and not self._pulls.knows(sought.digest):
            self._start(partial(self._await_manifest, sought))

    # Ahead of them

    async def run(self, changes: Changes) -> NoReturn:
        """Take in what containerd begins to receive, as `changes` tell, until cancelled."""
        while True:
            await changes.wait()
            await asyncio.sleep(_BATCH_SECONDS)
            self._pulls.arrivals_changed()
            await _guarded(self._look)

    async def _look(self) -> None:
        await self.places.forget_ended()
        await self._drop_unwanted()
        for pull in self._pulls.current():
            for blob in pull.blobs:
                if len(self._intakes) < _MOST_AHEAD and blob.digest not in self._intakes:
                    await self._begin_ahead(pull, blob)

    async def _begin_ahead(self, pull: ExpectedPull, blob: Blob) -> None:
        content = await arriving_or_none(self._own, blob.digest)
        sought = Sought(blob.digest, pull.repository)
        if content is not None and content.size > SMALL_BYTES:
            if blob.digest not in self._intakes and content.received < content.size and self._asked(sought):
                self._begin(sought, content.size)
        elif pull.is_first and blob.digest not in pull.intended:
            # Others are to get it from here, though it is small, or comes later.
            is_to_come = not pull.lines_up and pull.asked_at is not None and await self._pulls.expects(blob.digest)
            if is_to_come or (content is not None and not content.received):
                pull.intended.add(blob.digest)
                self._intended[blob.digest] = asyncio.get_running_loop().time()
                self._start(partial(self._intend, sought, blob.size))

    async def _intend(self, sought: Sought, size: int) -> None:
        verdict = await self._finder.claim(sought, size, Urgency.AHEAD)
        if verdict is None or verdict.sources:
            self._intended.pop(sought.digest, None)

    async def _drop_unwanted(self) -> None:
        """Drop the layers that containerd has, or has given up."""
        for digest in dict.fromkeys([*self._intakes, *self._intended]):
            intake = self._intakes.get(digest)
            if self._is_in_use(digest) or await arriving_or_none(self._own, digest):
                continue
            if await self._pulls.expects(digest):
                continue
            self._intended.pop(digest, None)
            if intake is not None and self._intakes.get(digest) is intake:
                self._drop(digest)

    def _drop(self, digest: Digest) -> None:
        self._intakes.pop(digest, None)
        if (task := self._tasks.pop(digest, None)) is not None:
            task.cancel()

    async def _is_wanted(self, digest: Digest) -> bool:
        """Whether containerd is at it, or at other layers of its image."""
        if self._pulls.knows(digest):
            return await self._pulls.expects(digest) is not None
        return await self._pulls.is_moving(digest)

    def _begin(self, sought: Sought, size: int) -> Intake:
        intake = self._make(sought, size)
        self._keep(intake, intake.run)
        return intake

    def _make(self, sought: Sought, size: int) -> Intake:
        return Intake(
            sought,
            size,
            finder=self._finder,
            inflows=self._inflows,
            own=self._own,
            is_wanted=self._is_wanted,
            tell=self.places.tell,
        )

    def _keep(self, intake: Intake, life: Job) -> None:
        if (former := self._tasks.pop(intake.digest, None)) is not None:
            former.cancel()
        self._intakes[intake.digest] = intake
        task = self._tasks[intake.digest] = self._start(life)
        task.add_done_callback(lambda task: self._end(intake, task))

    def _start(self, job: Job) -> asyncio.Task[Any]:
        return self._run(partial(_guarded, job))

    def _end(self, intake: Intake, task: asyncio.Task[Any]) -> None:
        intake.end()  # a task that is cancelled before its first step has done nothing
        if self._tasks.get(intake.digest) is task:
            del self._tasks[intake.digest]
            if intake.state is State.OVER:
                self._intakes.pop(intake.digest, None)


async def _guarded(job: Job) -> None:
    """Do it; what goes wrong in it costs this layer's head start, and nothing else."""
    try:
        await job()
    except Exception as error:  # noqa: BLE001 - it is an optimisation, whatever happens in it
        note_unexpected("taking in a layer ahead", error)


def _is_of_same_registry(one: Sought, other: Sought) -> bool:
    registries = {sought.repository and sought.repository.registry for sought in (one, other)}
    return len(registries) == 1


class TookTooLong(ContentNotFound):
    """No byte has come for as long as a request may wait."""


class _Patience:
    """Ends a wait in which containerd is given nothing else and no source is known to be at work.

    A source only says that it is at work, and the agent believes this for a limited time. Bytes given to containerd are
    a fact, and keep containerd from giving up its pull for standing still. Clients other than containerd wait only
    once.
    """

    def __init__(self, seconds: float, memory: InflowMemory, intake: Intake) -> None:
        asker = current_asker()
        self._seconds = seconds
        self._memory = memory
        self._intake = intake
        self._client_waits = asker is not None and asker.waits
        self._client_is_patient = asker is not None and asker.is_patient
        self._given = memory.given
        now = asyncio.get_running_loop().time()
        self._believed_until = now + _BELIEVED_SECONDS
        self._moving_until = now + (_MOVING_SECONDS if self._client_is_patient else _BELIEVED_SECONDS)
        self.until = now + seconds

    def require(self) -> None:
        """Raise TookTooLong when it is over."""
        now = asyncio.get_running_loop().time()
        if now < self.until:
            return
        is_given = self._memory.given != self._given
        looked_at = self.until - self._seconds
        is_at_work = now < self._believed_until and self._intake.heard_at > looked_at
        is_moving = now < self._moving_until and self._intake.moved_at > looked_at
        if not (self._client_waits and (is_given or is_at_work or is_moving)):
            raise TookTooLong(f"nothing of it has come within {self._seconds:g} s")
        self._given, self.until = self._memory.given, now + self._seconds


class _Request:
    """One request of containerd for a layer that is taken in."""

    def __init__(self, intake: Intake, content: Content, span: Span, intakes: Intakes) -> None:
        self.span = span
        self._intake = intake
        self._content = content
        self._places = intakes.places
        asker = current_asker()
        self._is_to_go_on = (lambda: not intakes.is_idle()) if asker and asker.lines_up else lambda: True

    async def wait(self, patience: _Patience, *, head_after: float) -> OpenContent | ClaimReply | None:
        """Wait for the result of `Intakes.open`."""
        head_at = asyncio.get_running_loop().time() + head_after
        while self._is_under_way:
            if self._has_begun:
                return self.opened(None)
            if not await self._wait_changed(min(patience.until, head_at)):
                patience.require()
                if asyncio.get_running_loop().time() >= head_at:
                    if self._places.may_end(self._intake.digest, self.span.start):
                        return self.opened(patience)
                    head_at = math.inf
        return self._intake.verdict if self._intake.state in _SETTLED else None

    def opened(self, patience: _Patience | None) -> OpenContent:
        """With a body that waits for the first byte itself."""
        return OpenContent(self._content, self.span, _IntakeBody(self, patience))

    async def send(self, sink: Sink, patience: _Patience | None) -> None:
        """Wait for the first byte, and send all. Raises SourceBroken, SinkClosed."""
        begun_at = sink.sent
        try:
            inflow = await self._flow(patience)
            await inflow.send(self.span, sink, is_to_go_on=self._is_to_go_on)
        except AskAgain as again:  # counted already
            raise SourceBroken(str(again)) from again
        except (ContentUnavailable, SourceBroken) as reason:
            if sink.sent == begun_at:
                self._places.end(self._intake.digest, self.span.start)
            raise SourceBroken(str(reason)) from reason
        finally:
            self._places.tell()

    async def release(self) -> None:
        """Note that this request will not read the layer."""
        await self._intake.release()

    async def _flow(self, patience: _Patience | None) -> Inflow:
        """The inflow, when there is a byte. Raises SourceBroken, AskAgain, ContentUnavailable."""
        if not self._has_begun:
            async with self._places.waiting(self._intake.digest, self._content.size, self.span.start):
                await self._wait_begun(patience)
        if self._intake.inflow is None or not self._has_begun:
            raise SourceBroken("it has to be got from somebody else")
        return self._intake.inflow

    async def _wait_begun(self, patience: _Patience | None) -> None:
        while self._is_under_way and not self._has_begun:
            until = None if patience is None else patience.until
            if not await self._wait_changed(until) and patience is not None:
                patience.require()

    @property
    def _is_under_way(self) -> bool:
        """Whether what is wanted may come from here."""
        if self._intake.state is State.FLOWING:
            return self._intake.inflow is not None and self._intake.inflow.can_give(self.span.start)
        return self._intake.state in _BEFORE_FLOWING

    @property
    def _has_begun(self) -> bool:
        inflow = self._intake.inflow
        return inflow is not None and inflow.start <= self.span.start < inflow.end

    async def _wait_changed(self, until: float | None) -> bool:
        """Whether something has, by then."""
        inflow = self._intake.inflow
        changed = self._intake.wait_changed() if inflow is None else inflow.wait_beyond(self.span.start)
        try:
            async with asyncio.timeout_at(until):
                await changed
        except TimeoutError:
            return False
        except SourceBroken:
            pass  # as `can_give` says
        return True


class _IntakeBody:
    """A body whose bytes come from an intake."""

    def __init__(self, request: _Request, patience: _Patience | None) -> None:
        self._request = request
        self._patience = patience

    @property
    def length(self) -> int:
        return self._request.span.length

    async def send_to(self, sink: Sink) -> None:
        await self._request.send(sink, self._patience)

    async def aclose(self) -> None:
        """The intake lives on if it has begun: containerd may come again."""
        await self._request.release()
