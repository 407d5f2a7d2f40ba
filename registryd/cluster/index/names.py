"""The names that this node was told as an index node: each name's meanings, with holder and time."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from registryd.cluster.contract.index import Receipt
from registryd.cluster.contract.names import MAX_NAMED_TARGETS, NameAnswer
from registryd.cluster.index.desk import WAVE_SECONDS
from registryd.content.names import newest_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.node import NodeId
    from registryd.content.naming import Naming
    from registryd.content.source import NamedContent
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName

    # One thing that a holder says, by the key that it chose.
    Statement = tuple[Address, Digest]

K = TypeVar("K")
G = TypeVar("G", bound="MutableMapping[Statement, Any]")

# A statement that was not repeated for so long is forgotten. Holders repeat everything in half the time, as they do for
# digests. So an index node that has run for half the time knows everything.
NAME_SECONDS: Final = WAVE_SECONDS
SETTLED_SECONDS: Final = WAVE_SECONDS / 2
# The meanings of one host in a full answer: containerd knows one meaning of a name in each of its namespaces.
MEANINGS_OF_HOST: Final = 4


@dataclass(frozen=True, slots=True)
class NameQuotas:
    """How many statements are kept, in all and of one host; beyond, those not said for longest are forgotten.

    1,000 nodes that know 500 names each, with 3 index nodes for every name, make 1,500 statements at each node, of some
    1,400 bytes. A name that all know makes as many at its index nodes as there are nodes. One node of two has all of
    its names at the other.
    """

    statements: int = 20_000
    statements_of_host: int = 2_000


class NameIndexState:
    """Keeps holders' statements about names. The statement of one holder never changes another's.

    `clock` gives seconds and is never set back.
    """

    def __init__(self, own_id: NodeId, clock: Callable[[], float], *, quotas: NameQuotas | None = None) -> None:
        self._own_id = own_id
        self._clock = clock
        self._quotas = quotas or NameQuotas()
        self._began = clock()
        # Both in the order in which they were last said.
        self._said: OrderedDict[Statement, tuple[Naming, float]] = OrderedDict()
        self._of_host: defaultdict[str, dict[Statement, None]] = defaultdict(dict)
        self._of_name: defaultdict[TaggedName, dict[Statement, NamedContent]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._said)

    def answer(self, name: TaggedName) -> NameAnswer:
        """The newest things that the name was said to mean, each target once."""
        now = self._clock()
        self._forget_old(now)
        said = self._of_name.get(name, {})
        known = newest_first(said.values())
        if len(known) > MAX_NAMED_TARGETS:
            known = newest_first(_shared_out(said))[:MAX_NAMED_TARGETS]
        return NameAnswer(known, is_settled=now - self._began >= SETTLED_SECONDS)

    def announce(self, announcement: NameAnnouncement) -> Receipt:
        """Take it in."""
        holder = announcement.holder
        self._forget((holder, key) for key in announcement.dropped)
        if announcement.is_all:
            others = [said for said in self._of_host.get(holder.host, ()) if said[0] == holder]
            self._forget(said for said in others if said[1] not in announcement.held)
        now = self._clock()
        for key, naming in announcement.held.items():
            self._keep((holder, key), naming, now)
        self._forget_old(now)
        self._keep_within_quotas(holder.host)
        return Receipt(self._own_id)

    def _keep(self, statement: Statement, naming: Naming, now: float) -> None:
        self._forget([statement])
        self._said[statement] = naming, now
        self._of_host[statement[0].host][statement] = None
        self._of_name[naming.name][statement] = naming.meaning

    def _forget(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            if statement not in self._said:
                continue
            naming, _ = self._said.pop(statement)
            _remove(self._of_host, statement[0].host, statement)
            _remove(self._of_name, naming.name, statement)

    def _forget_old(self, now: float) -> None:
        while self._said:
            statement, (_, said_at) = next(iter(self._said.items()))
            if said_at + NAME_SECONDS > now:
                return
            self._forget([statement])

    def _keep_within_quotas(self, host: str) -> None:
        while len(self._of_host.get(host, ())) > self._quotas.statements_of_host:
            self._forget([next(iter(self._of_host[host]))])
        while len(self._said) > self._quotas.statements:
            self._forget([next(iter(self._said))])


def _shared_out(said: Mapping[Statement, NamedContent]) -> Iterator[NamedContent]:
    """The newest of each host."""
    counts: Counter[str] = Counter()
    for (holder, _), meaning in sorted(said.items(), key=lambda item: item[1].seen_at, reverse=True):
        counts[holder.host] += 1
        if counts[holder.host] <= MEANINGS_OF_HOST:
            yield meaning


def _remove(groups: MutableMapping[K, G], key: K, statement: Statement) -> None:
    """Out of its group, which goes with the last one in it."""
    del groups[key][statement]
    if not groups[key]:
        del groups[key]
