from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.agent.trial import TrialDesk
from registryd.content.trial import TooManyTrials, Trials
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


async def test_no_more_trials_are_begun_than_are_offered() -> None:
    desk = TrialDesk(Trials())
    for _ in range(4):
        await desk.begin("docker.io", cast("Any", NobodyElse()))
    with pytest.raises(TooManyTrials):
        await desk.begin("docker.io", cast("Any", NobodyElse()))
