"""The cluster as a source of content and of names, asked like this node's own store."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.racing import AllFailed, arrivals, at_once
from registryd.cluster.contract.no_forwarding import refuse_to_forward
from registryd.cluster.fetch.named import Want
from registryd.cluster.fetch.opening import is_small
from registryd.cluster.fetch.outcome import refusal
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import AbstractContextManager

    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.fetching import Fetcher
    from registryd.cluster.fetch.locator import MemberLocator
    from registryd.cluster.health.attribution import DeliveryAttribution
    from registryd.cluster.index_client.name_search import NameIndex
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, RangeOf
    from registryd.oci.reference import Repository, TaggedName


# Where a question for size and type begins.
_NO_BYTE: Final = -1


class TakingIn(Protocol):
    """The content that this node is taking in from others (`registryd.cluster.fetch.intakes.Intakes`)."""

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent | ClaimReply | None:
        """The content as it is taken in, or its sources, or None when these are not known."""

    async def adopt(self, sought: Sought, opened: OpenContent) -> OpenContent:
        """Take it in, for others that follow this node; closes it when cancelled."""

    def present(self) -> AbstractContextManager[None]:
        """While containerd's request is being answered."""

    def sent_away(self, sought: Sought, reason: ContentUnavailable) -> None:
        """Note that containerd goes to the origin for it, for that reason."""


class ClusterSource:
    """An EntitledSource. Asks the members and opens what the first of them offers. Cancelling leaves nothing open."""

    def __init__(
        self,
        locator: MemberLocator,
        fetcher: Fetcher,
        intakes: TakingIn | None = None,
        *,
        names: NameIndex | None = None,
    ) -> None:
        """Without `intakes` the node takes no content in ahead of its request, or for others.

        Without `names` the node asks members, and no index nodes, for the meaning of a name.
        """
        self._locator = locator
        self._fetcher = fetcher
        self._intakes = intakes
        self._names = names

    @property
    def blame(self) -> DeliveryAttribution:
        """Finds out which node gave wrong bytes."""
        return self._fetcher.blame

    async def find(self, sought: Sought) -> Content:
        with self._request(sought, _NO_BYTE):
            return await self._fetcher.find(sought)

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        refuse_to_forward()
        with self._request(sought, Want(sought, wanted).start):
            if self._intakes is None:
                return await self._fetcher.open(sought, wanted)
            return await self._open_taking_in(self._intakes, sought, wanted)

    @contextmanager
    def _request(self, sought: Sought, start: int) -> Generator[None, None, None]:
        self._locator.begin(sought.digest, start)
        try:
            yield
        except ContentUnavailable:
            self._locator.refused(sought.digest, start)
            raise

    async def _open_taking_in(self, intakes: TakingIn, sought: Sought, wanted: RangeOf) -> OpenContent:
        try:
            with intakes.present():
                found = await intakes.open(sought, wanted)
                if isinstance(found, OpenContent):
                    return found
                opened = await self._fetcher.open(sought, wanted, verdict=found)
        except ContentUnavailable as reason:
            intakes.sent_away(sought, reason)
            raise
        # In a wave this node has followers, too.
        is_followed = opened.content.is_growing and not is_small(opened.content)
        return await intakes.adopt(sought, opened) if is_followed else opened

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        """The meanings of the name at all members: a tag moves, so the first answer is not enough.

        In a larger cluster the agent asks the name's index nodes. When they cannot know, the agent asks as many members
        as it may, at random.
        """
        refuse_to_forward()
        if self._names is not None and self._names.is_told:
            answer = await self._names.ask(name)
            if answer.known or answer.is_settled:
                return answer.known
        return await self._resolve_by_members(name)

    async def _resolve_by_members(self, name: TaggedName) -> Sequence[NamedContent]:
        """Takes as long as the slowest member that is well, and at most peers.find_timeout."""
        questions = [partial(member.resolve, name) for member in self._locator.members()]
        try:
            async with aclosing(arrivals(at_once(questions), expected=ContentUnavailable)) as answers:
                return [known async for answer in answers for known in answer.known]
        except AllFailed as error:
            reason = refusal(error.reasons)
            if isinstance(reason, ContentNotFound):
                return ()
            raise reason from error

    async def vouch(self, repository: Repository) -> bool:
        """Whether a member knows from the upstream that anyone may pull from the repository."""
        refuse_to_forward()
        questions = [partial(member.vouch, repository) for member in self._locator.members()]
        try:
            async with aclosing(arrivals(at_once(questions), expected=ContentUnavailable)) as answers:
                async for is_public in answers:
                    if is_public:
                        return True
        except AllFailed:
            pass
        return False
