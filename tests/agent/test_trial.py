from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from registryd.agent.trial import TrialDesk
from registryd.content.trial import Trials
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from registryd.content.trial import TrialWords
    from registryd.notation import Address


class NobodyElse:
    """A checkup of a node without peers."""

    async def rehearse(self, words: TrialWords) -> Address | None:
        assert words.word
        return None


async def test_the_content_of_a_trial_that_was_begun_here_is_known() -> None:
    desk = TrialDesk(Trials())
    begun = await desk.begin("docker.io", cast("Any", NobodyElse()))
    assert len(begun["content"]) == 3
    assert all(desk.is_content(Digest.parse(text)) for text in begun["content"])
    assert not desk.is_content(Digest.of(b"something else"))
