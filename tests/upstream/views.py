"""A registry as anyone sees it, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.upstream.errors import UpstreamFailed, UpstreamLimited, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.oci.reference import Reference, Registry, Repository

    Failure = Callable[[], UpstreamFailed]


def now() -> float:
    return asyncio.get_running_loop().time()


def gone() -> UpstreamFailed:
    return UpstreamUnreachable("gone")


def limited(retry_after: float | None) -> Failure:
    return lambda: UpstreamLimited("too much", retry_after=retry_after)


@dataclass
class FakeView:
    """Answers after `delay` seconds, with `failure` if there is one; keeps when and what it was asked."""

    failure: Failure | None = None
    delay: float = 0.1
    is_everybodys: bool = True
    heads: list[tuple[float, Repository, Reference]] = field(default_factory=list)
    pings: list[tuple[float, Registry]] = field(default_factory=list)
    cancelled: int = 0

    async def head(self, repository: Repository, reference: Reference) -> bool:
        self.heads.append((now(), repository, reference))
        await self._answer()
        return self.is_everybodys

    async def ping(self, registry: Registry) -> None:
        self.pings.append((now(), registry))
        await self._answer()

    async def _answer(self) -> None:
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure()


class Mistaken(FakeView):
    """Fails by a mistake of ours."""

    async def _answer(self) -> None:
        raise UnicodeError("decoding failed")
