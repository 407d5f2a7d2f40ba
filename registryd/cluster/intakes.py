"""All layers that are being taken in, and containerd's requests for them.

A layer is taken in as soon as containerd has begun to receive it, which since 2.1 is before it asks for it: so what
other nodes are receiving comes down to this one in the order in which they get it, whatever containerd's own order is.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.aio.bound import off_the_clock
from registryd.cluster.intake import Intake, State, Urgency
from registryd.cluster.opening import SMALL_BYTES
from registryd.cluster.places import Places, Pressed
from registryd.content.asker import AskAgain, current_asker
from registryd.content.growing import GrowingContent
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractContextManager
    from typing import Any, NoReturn

    from registryd.aio.file_events import Changes
    from registryd.cluster.index.values import Verdict
    from registryd.cluster.intake import Finder, Receiving
    from registryd.cluster.pulls import Blob, Pull, Pulls
    from registryd.content.source import Content, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflow, Inflows
    from registryd.transfer.sink import Sink

    Run = Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]

_log = logging.getLogger(__name__)

# Since 2.3 containerd goes to its next host after 30 s without a response head, so that one is sent before that; the
# wait goes on behind it.
_HEAD_SECONDS: Final = 20.0
# Less than containerd 1.7 lets a pull stand still for, which is a minute.
_BELIEVED_SECONDS: Final = 45.0
# Ingests of one image begin one after the other, each with an event.
_BATCH_SECONDS: Final = 0.005
# Of an image of more layers, those after these are taken in when they are asked for.
_MOST_AHEAD: Final = 64
# States in which an intake has nothing to give and nothing under way.
_ENDED: Final = frozenset({State.OVER, State.SENT_AWAY})


class Intakes:
    """Takes layers in for containerd, ahead of its requests where these can be seen coming."""

    def __init__(  # noqa: PLR0913 - its parts and numbers, all named
        self,
        finder: Finder,
        pulls: Pulls,
        own: Receiving,
        inflows: Inflows,
        *,
        fetch_wait: float,
        run: Run,
        await_manifest: Callable[[Digest], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """`fetch_wait`: how long, in seconds, a request may wait while nothing else flows in.

        `run` runs a task as long as the agent lives. `await_manifest` looks into small content that containerd fetches
        from the origin.
        """
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

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent | Verdict | None:
        """The layer as it is taken in; or who has it, perhaps nobody; None when that has to be found out.

        Raises AskAgain, ContentNotFound for what took too long, RangeInvalid.
        """
        asker = current_asker()
        self._intended.pop(digest, None)
        self._pulls.asked(digest, lines_up=asker is not None and asker.lines_up)
        content = await self._arriving(digest)
        if content is None or content.size <= SMALL_BYTES:
            return None
        span = wanted(content.size)
        intake = self._intakes.get(digest)
        if intake is None or intake.state in _ENDED:
            intake = self._begin(digest, content.size)
        intake.ask(Urgency.ASKED)
        request = _Request(intake, content, span, self)
        try:
            with off_the_clock():
                async with self.places.waiting(digest, content.size):
                    return await request.wait(
                        _Patience(self._fetch_wait, self._inflows, intake), head_after=_HEAD_SECONDS
                    )
        except (Pressed, TookTooLong):
            intake.ask(Urgency.PRESSED)
            raise

    def adopt(self, opened: OpenContent) -> OpenContent:
        """Take in content that is being received elsewhere, and that containerd has asked for."""
        intake = self._make(opened.content.digest, opened.content.size)
        task = self._keep(intake, intake.pump(opened.body, opened.span))
        task.add_done_callback(lambda _: self._close_unused(intake, opened.body))
        return _Request(intake, opened.content, opened.span, self).opened(None)

    def present(self) -> AbstractContextManager[None]:
        """While containerd's request is being answered."""
        return self.places.present()

    def sent_away(self, digest: Digest, reason: ContentUnavailable) -> None:
        """Note that containerd goes to the origin for it, for that reason."""
        if not isinstance(reason, Pressed | TookTooLong):  # nobody waits for what is fetched besides
            self.places.promise(digest)
        if self._await_manifest is not None and not self._pulls.knows(digest):
            self._run(_guarded(self._await_manifest(digest)))

    # Ahead of them

    async def run(self, changes: Changes) -> NoReturn:
        """Take in what containerd begins to receive, as `changes` tell, until cancelled."""
        while True:
            await changes.wait()
            await asyncio.sleep(_BATCH_SECONDS)
            self._pulls.arrivals_changed()
            await self._drop_unwanted()
            for pull in self._pulls.current():
                for blob in pull.blobs:
                    if len(self._intakes) < _MOST_AHEAD and blob.digest not in self._intakes:
                        await self._begin_ahead(pull, blob)

    async def _begin_ahead(self, pull: Pull, blob: Blob) -> None:
        content = await self._arriving(blob.digest)
        if content is not None and blob.digest not in self._intakes and content.size > SMALL_BYTES:
            self._begin(blob.digest, content.size)
        elif pull.is_first and blob.digest not in pull.intended:
            # Others are to get it from here, though it is small, or comes later.
            is_to_come = not pull.lines_up and pull.asked_at is not None and await self._pulls.expects(blob.digest)
            if is_to_come or (content is not None and not content.available):
                pull.intended.add(blob.digest)
                self._intended[blob.digest] = asyncio.get_running_loop().time()
                self._run(_guarded(self._intend(blob)))

    async def _intend(self, blob: Blob) -> None:
        verdict = await self._finder.claim(blob.digest, blob.size, Urgency.AHEAD)
        if verdict is None or verdict.sources:
            self._intended.pop(blob.digest, None)

    async def _drop_unwanted(self) -> None:
        """What containerd has, or has given up."""
        for digest in [*self._intakes, *self._intended]:
            if await self._arriving(digest) is None and not await self._pulls.expects(digest):
                self._intended.pop(digest, None)
                self._intakes.pop(digest, None)
                if (task := self._tasks.pop(digest, None)) is not None:
                    task.cancel()

    async def _arriving(self, digest: Digest) -> GrowingContent | None:
        try:
            content = await self._own.find(digest)
        except ContentUnavailable:
            return None
        return content if isinstance(content, GrowingContent) else None

    def _begin(self, digest: Digest, size: int) -> Intake:
        intake = self._make(digest, size)
        self._keep(intake, intake.run())
        return intake

    def _make(self, digest: Digest, size: int) -> Intake:
        return Intake(digest, size, finder=self._finder, inflows=self._inflows, own=self._own, tell=self.places.tell)

    def _close_unused(self, intake: Intake, body: Body) -> None:
        """A task that is cancelled before its first step has closed nothing."""
        if intake.inflow is None:
            self._run(_guarded(body.aclose()))

    def _keep(self, intake: Intake, life: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        if (former := self._tasks.pop(intake.digest, None)) is not None:
            former.cancel()
        self._intakes[intake.digest] = intake
        task = self._tasks[intake.digest] = self._run(_guarded(life))
        task.add_done_callback(lambda task: self._end(intake, task))
        return task

    def _end(self, intake: Intake, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(intake.digest) is task:
            del self._tasks[intake.digest]
            if intake.state is State.OVER:
                self._intakes.pop(intake.digest, None)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Do it; what goes wrong in it costs this layer's head start, and nothing else."""
    try:
        await work
    except Exception:  # noqa: BLE001 - it is an optimisation, whatever happens in it
        _log.exception("a layer is not taken in ahead")


class TookTooLong(ContentNotFound):
    """Nothing has come for as long as a request may wait."""


class _Patience:
    """Ends a wait in which nothing flows in and no source is known to be at work; any that is too long for the client.

    That a source is at work is no more than its word, and is believed for so long; what flows in is a fact.
    """

    def __init__(self, seconds: float, inflows: Inflows, intake: Intake) -> None:
        asker = current_asker()
        self._seconds = seconds
        self._inflows = inflows
        self._intake = intake
        self._client_waits = asker is not None and asker.waits
        self._flowed = inflows.total
        now = asyncio.get_running_loop().time()
        self._believed_until = now + _BELIEVED_SECONDS
        self.until = now + seconds

    def require(self) -> None:
        """Raise TookTooLong when it is over."""
        now = asyncio.get_running_loop().time()
        if now < self.until:
            return
        has_flowed = self._inflows.total != self._flowed
        is_at_work = now < self._believed_until and self._intake.heard_at > self.until - self._seconds
        if not (self._client_waits and (has_flowed or is_at_work)):
            raise TookTooLong(f"nothing of it has come within {self._seconds:g} s")
        self._flowed, self.until = self._inflows.total, now + self._seconds


class _Request:
    """One request of containerd for a layer that is taken in."""

    def __init__(self, intake: Intake, content: Content, span: Span, intakes: Intakes) -> None:
        self._intake = intake
        self._content = content
        self._span = span
        self._places = intakes.places
        asker = current_asker()
        self._is_to_go_on = (lambda: not intakes.is_idle()) if asker and asker.lines_up else lambda: True

    async def wait(self, patience: _Patience, *, head_after: float) -> OpenContent | Verdict | None:
        """What `Intakes.open` returns."""
        head_at = asyncio.get_running_loop().time() + head_after
        while True:
            intake = self._intake
            if intake.state is State.FLOWING:
                return await self._flowing()
            if intake.state is State.OVER:
                return None
            if intake.state in {State.ELSEWHERE, State.SENT_AWAY}:
                return intake.verdict
            await self._wait_changed(min(patience.until, head_at))
            patience.require()
            if asyncio.get_running_loop().time() >= head_at:
                if self._places.may_end(intake.digest):
                    return self.opened(patience)
                head_at = math.inf

    def opened(self, patience: _Patience | None) -> OpenContent:
        """With a body that waits for the first byte itself."""
        return OpenContent(self._content, self._span, _IntakeBody(self, patience))

    async def flow(self, patience: _Patience | None) -> Inflow:
        """What flows in, when it does. Raises SourceBroken."""
        try:
            async with self._places.waiting(self._intake.digest, self._content.size):
                while self._intake.state is not State.FLOWING:
                    if self._intake.state not in {State.SEEKING, State.OURS}:
                        break
                    await self._wait_changed(None if patience is None else patience.until)
                    if patience is not None:
                        patience.require()
        except AskAgain as again:
            raise SourceBroken(str(again)) from again
        except ContentUnavailable as reason:
            self._places.end(self._intake.digest)
            raise SourceBroken(str(reason)) from reason
        inflow = self._intake.inflow
        if inflow is None:
            self._places.end(self._intake.digest)
            raise SourceBroken("it has to be got from somebody else")
        return inflow

    async def send(self, sink: Sink, patience: _Patience | None) -> None:
        inflow = await self.flow(patience)
        await inflow.wait_beyond(self._span.start)
        self._places.arrived(self._intake.digest)
        try:
            await inflow.send(self._span, sink, is_to_go_on=self._is_to_go_on)
        finally:
            self._places.tell()

    @property
    def length(self) -> int:
        return self._span.length

    async def _flowing(self) -> OpenContent | None:
        inflow = self._intake.inflow
        if inflow is None or not inflow.can_give(self._span.start):
            return None
        with suppress(SourceBroken):
            await inflow.wait_beyond(self._span.start)
            return self.opened(None)
        return None

    async def _wait_changed(self, until: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._intake.wait_changed()


class _IntakeBody:
    """A body whose bytes come from an intake."""

    def __init__(self, request: _Request, patience: _Patience | None) -> None:
        self._request = request
        self._patience = patience

    @property
    def length(self) -> int:
        return self._request.length

    async def send_to(self, sink: Sink) -> None:
        await self._request.send(sink, self._patience)

    async def aclose(self) -> None:
        """The intake lives on: containerd may come again."""
