"""The pulls of this node's containerd, one entry each: image, duration, sources, and the reasons for delays.

containerd does not say which requests belong together. The log joins requests for one repository that follow each other
closely. A pull is over when all requested content is here, from whatever source.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from registryd.aio.recent import Recent
from registryd.content.hindrances import LONG_WAIT, Hindrances
from registryd.notation import counted
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from registryd.oci.reference import Reference, Repository

_log = logging.getLogger(__name__)

ELSEWHERE: Final = "elsewhere"
HERE: Final = "this node"
_PEERS: Final = "peers"
# Seconds. After the last request of a pull: containerd asks for layers at once, and for the next when one has come.
_QUIET: Final = 2.0
# Until what containerd fetches elsewhere is here: a layer of 10 GB at 16 MB a second. Then it is told as it stands.
_PATIENCE: Final = 600.0
_LOOK: Final = 0.5
_REMEMBERED: Final = 50
_MOST_UNDER_WAY: Final = 200
_SOURCES_REMEMBERED: Final = 4_000


@dataclass(slots=True)
class LoggedPull:
    """One pull. Times are seconds since the epoch, `waited` is the longest time until the first byte of an answer."""

    repository: str
    began: float
    tag: str = ""
    digest: str = ""
    ended: float | None = None
    given: dict[Digest, int] = field(default_factory=dict)
    """Bytes that containerd was given by this agent."""
    from_here: set[Digest] = field(default_factory=set)
    missed: dict[Digest, str] = field(default_factory=dict)
    """What it was not given, and why."""
    broken_off: set[Digest] = field(default_factory=set)
    """What it was given in part: it gets the rest, from here or elsewhere."""
    given_up: set[Digest] = field(default_factory=set)
    """What containerd hung up on before it had all of it, and has not got since."""
    elsewhere: dict[Digest, int] = field(default_factory=dict)
    waited: float = 0.0
    broken: int = 0
    running: int = 0
    last: float = 0.0
    traceparent: str = ""
    """Of containerd's own trace, where its requests carry one (W3C Trace Context)."""

    @property
    def image(self) -> str:
        suffix = f":{self.tag}" if self.tag else f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{suffix}"

    @property
    def size(self) -> int:
        return sum(self.given.values()) + sum(self.elsewhere.values())

    @property
    def unsettled(self) -> set[Digest]:
        """Content that containerd is getting elsewhere, and does not have yet."""
        return (self.missed.keys() - self.given.keys() | self.broken_off) - self.elsewhere.keys()


class PullLog:
    """The pulls that are under way, and those of lately."""

    def __init__(self, *, node: str = "", sees_elsewhere: bool = True, clock: Callable[[], float] = time.time) -> None:
        """`node` is its name. `sees_elsewhere`: what containerd gets elsewhere is told of, and can be waited for."""
        self._node = node
        self.hindrances = Hindrances()
        self._listeners: list[Callable[[LoggedPull, Mapping[str, Any]], None]] = []
        self._clock = clock
        self._patience = _PATIENCE if sees_elsewhere else _QUIET
        self._under_way: list[LoggedPull] = []
        self._recent: deque[LoggedPull] = deque(maxlen=_REMEMBERED)
        self._sources: Recent[Digest, Counter[str]] = Recent(_SOURCES_REMEMBERED)

    # What happens

    def listen(self, listener: Callable[[LoggedPull, Mapping[str, Any]], None]) -> None:
        """Pass each finished pull to one more listener, in the form of `told`."""
        self._listeners.append(listener)

    def begins(self, repository: Repository, reference: Reference, *, traceparent: str = "") -> LoggedPull:
        """Note that a request begins; the door that answers it notes the outcome in the end."""
        pull = self._pull_of(repository, reference)
        pull.running += 1
        pull.traceparent = pull.traceparent or traceparent
        return pull

    def ends(self, pull: LoggedPull, *, waited: float) -> None:
        """A request is over."""
        pull.running -= 1
        pull.last = self._clock()
        pull.waited = max(pull.waited, waited)

    def given(  # noqa: PLR0913 - of one request
        self,
        pull: LoggedPull,
        digest: Digest,
        count: int,
        *,
        is_local: bool,
        is_broken: bool,
        is_given_up: bool = False,
    ) -> None:
        """Note that so many bytes went to containerd, which may have hung up before the last one (`is_given_up`)."""
        pull.given[digest] = pull.given.get(digest, 0) + count
        pull.broken += is_broken
        (pull.broken_off.add if is_broken else pull.broken_off.discard)(digest)
        (pull.given_up.add if is_given_up else pull.given_up.discard)(digest)
        if is_local:
            pull.from_here.add(digest)

    def missed(self, pull: LoggedPull, digest: Digest, reason: str) -> None:
        """Note that containerd goes elsewhere for it."""
        pull.missed.setdefault(digest, reason)

    def received(self, digest: Digest, count: int, source: str) -> None:
        """Note that so many of its bytes came from a peer, perhaps before containerd asked."""
        self._sources.get_or_put(digest, Counter)[source] += count

    def appeared(self, digest: Digest, count: int) -> None:
        """Note that containerd has the content now, and got so many bytes of it elsewhere."""
        for pull in self._under_way:
            pull.broken_off.discard(digest)
            pull.given_up.discard(digest)
            if not count:
                continue
            if digest in pull.missed or digest in pull.given:
                pull.elsewhere[digest] = count
                pull.last = self._clock()
                return

    async def run(self) -> NoReturn:
        """Tell of each pull when it is over, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            self.settle()

    def settle(self) -> None:
        """Close the pulls that are over."""
        over = [pull for pull in self._under_way if self._is_over(pull)]
        self._under_way = [pull for pull in self._under_way if pull not in over]
        for pull in over:
            pull.ended = pull.last
            if pull.size or pull.missed:
                self._recent.append(pull)
                told = self.told(pull)
                _tell(pull, told)
                for listener in self._listeners:
                    listener(pull, told)

    # What people see

    def under_way(self) -> list[Mapping[str, Any]]:
        return [self.told(pull) for pull in self._under_way if pull.size or pull.missed]

    def recent(self) -> list[Mapping[str, Any]]:
        """The finished pulls, the latest first."""
        return [self.told(pull) for pull in reversed(self._recent)]

    def told(self, pull: LoggedPull) -> Mapping[str, Any]:
        """The pull as JSON: shares are of all bytes, `sources` of each source by name, the largest first."""
        by_source = self._by_source(pull)
        size = pull.size
        shares = {source: count / size for source, count in by_source.most_common() if size}
        return {
            "image": pull.image,
            "node": self._node,
            "began": pull.began,
            "ended": pull.ended,
            "size": size,
            "share": 1 - sum(pull.elsewhere.values()) / size if size else 0.0,
            "sources": shares,
            "slowed": [*_slowed(pull), *self.hindrances.told(pull.missed.keys() | pull.given.keys())],
        }

    def _is_over(self, pull: LoggedPull) -> bool:
        quiet = self._clock() - pull.last
        return not pull.running and quiet >= (self._patience if pull.unsettled else _QUIET)

    def _by_source(self, pull: LoggedPull) -> Counter[str]:
        found: Counter[str] = Counter()
        for digest, count in pull.given.items():
            if digest in pull.from_here:
                found[HERE] += count
                continue
            told = self._sources.get(digest) or Counter({_PEERS: 1})
            whole = sum(told.values())
            for source, part in told.items():
                found[source] += round(count * part / whole)
        for count in pull.elsewhere.values():
            if count:
                found[ELSEWHERE] += count
        return found

    def _pull_of(self, repository: Repository, reference: Reference) -> LoggedPull:
        name, tag = str(repository), "" if isinstance(reference, Digest) else str(reference)
        for pull in reversed(self._under_way):
            if pull.repository == name and not (tag and pull.tag and pull.tag != tag):
                break
        else:
            pull = LoggedPull(name, self._clock())
            self._under_way = [*self._under_way, pull][-_MOST_UNDER_WAY:]
        pull.tag = pull.tag or tag
        pull.digest = pull.digest or ("" if tag else str(reference))
        pull.last = self._clock()
        return pull


def _slowed(pull: LoggedPull) -> list[str]:
    """The reasons for delays, in words; empty when there were none."""
    found = []
    if pull.missed:
        reasons = Counter(pull.missed.values()).most_common(2)
        told = "; ".join(reason for reason, _ in reasons)
        found.append(f"went elsewhere for {len(pull.missed)} of {len(pull.missed.keys() | pull.given.keys())}: {told}")
    if pull.waited >= LONG_WAIT:
        found.append(f"waited {pull.waited:.1f} s for a first byte")
    if pull.broken:
        found.append(f"{counted(pull.broken, 'body', 'bodies')} broke off")
    if pull.ended is not None and pull.given_up:
        found.append(f"containerd gave up {len(pull.given_up)} of {len(pull.missed.keys() | pull.given.keys())}")
    if pull.ended is not None and pull.unsettled:
        found.append("did not end while it was looked at")
    return found


def _tell(pull: LoggedPull, told: Mapping[str, Any]) -> None:
    _log.info(
        "pull",
        extra={
            "image": pull.image,
            "node": told["node"],
            "size": pull.size,
            "seconds": round((pull.ended or pull.began) - pull.began, 2),
            "share": round(told["share"], 3),
            "sources": ", ".join(f"{source} {100 * share:.0f} %" for source, share in told["sources"].items()),
            "slowed": "; ".join(told["slowed"]),
        },
    )
