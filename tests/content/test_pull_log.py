"""Requests that belong together are one pull, told once, with who gave it and what held it up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from registryd.content.pull_log import PullLog
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag

if TYPE_CHECKING:
    import pytest

APP, OTHER = (Repository(Registry("ghcr.io"), path) for path in ("corp/app", "corp/other"))
MANIFEST, LAYER, CONFIG = (Digest.of(text) for text in (b"manifest", b"layer", b"config"))


class Play:
    """A log, containerd's requests to it, and the time."""

    def __init__(self, *, sees_elsewhere: bool = True) -> None:
        self.now = 1000.0
        self.log = PullLog(sees_elsewhere=sees_elsewhere, clock=lambda: self.now)

    def give(self, digest: Digest, count: int, *, by: Repository = APP, is_local: bool = False) -> None:
        pull = self.log.begins(by, digest)
        self.log.given(pull, digest, count, is_local=is_local, is_broken=False)
        self.log.ends(pull, waited=0.01)

    def give_in_part(self, digest: Digest, count: int) -> None:
        pull = self.log.begins(APP, digest)
        self.log.given(pull, digest, count, is_local=False, is_broken=True)
        self.log.ends(pull, waited=0.01)

    def give_up(self, digest: Digest, count: int) -> None:
        pull = self.log.begins(APP, digest)
        self.log.given(pull, digest, count, is_local=False, is_broken=False, is_given_up=True)
        self.log.ends(pull, waited=0.01)

    def ask_tag(self, tag: str) -> None:
        self.log.ends(self.log.begins(APP, Tag(tag)), waited=0.01)

    def miss(self, digest: Digest) -> None:
        pull = self.log.begins(APP, digest)
        self.log.missed(pull, digest, "nobody had it")
        self.log.ends(pull, waited=0.02)

    def over(self, seconds: float = 3.0) -> list[Any]:
        self.now += seconds
        self.log.settle()
        return list(self.log.recent())


def test_what_belongs_together_is_one_pull(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    caplog.set_level(logging.INFO)
    play.ask_tag("v1")
    play.log.received(LAYER, 60, "10.0.0.2")
    play.log.received(LAYER, 20, "10.0.0.3")
    play.give(MANIFEST, 20, is_local=True)
    play.give(LAYER, 80)
    (pull,) = play.over()
    assert (pull["image"], pull["size"], pull["share"]) == ("ghcr.io/corp/app:v1", 100, 1.0)
    assert pull["sources"] == {"10.0.0.2": 0.6, "10.0.0.3": 0.2, "this node": 0.2}
    assert pull["slowed"] == []
    (line,) = [record for record in caplog.records if record.message == "pull"]
    assert vars(line)["sources"].startswith("10.0.0.2 60 %, ")


def test_the_rest_of_what_broke_off_is_waited_for_and_counted() -> None:
    play = Play()
    play.give(MANIFEST, 5)
    play.give_in_part(LAYER, 20)
    play.miss(LAYER)
    assert play.over(60) == []
    play.log.appeared(LAYER, 75)
    (pull,) = play.over()
    assert (pull["size"], pull["share"]) == (100, 0.25)
    assert "1 body broke off" in pull["slowed"]


def test_what_broke_off_at_its_very_end_is_over_when_it_is_here() -> None:
    play = Play()
    play.give_in_part(LAYER, 100)
    assert play.over(60) == []
    play.log.appeared(LAYER, 0)
    assert [pull["size"] for pull in play.over()] == [100]


def test_what_broke_off_and_came_by_us_in_the_end_is_over() -> None:
    play = Play()
    play.give_in_part(LAYER, 20)
    play.give(LAYER, 80)
    (pull,) = play.over()
    assert (pull["size"], pull["share"]) == (100, 1.0)


def test_a_pull_that_containerd_gave_up_says_so() -> None:
    play = Play()
    play.give(MANIFEST, 20)
    play.give_up(LAYER, 30)
    (pull,) = play.over()
    assert (pull["size"], pull["slowed"]) == (50, ["containerd gave up 1 of 2"])


def test_what_containerd_hung_up_on_and_has_in_the_end_was_not_given_up() -> None:
    play = Play()
    play.give_up(LAYER, 30)
    play.give(LAYER, 50)
    play.give_up(CONFIG, 5)
    play.log.appeared(CONFIG, 5)
    (pull,) = play.over()
    assert not pull["slowed"]


def test_what_comes_from_elsewhere_is_waited_for() -> None:
    play = Play()
    play.give(MANIFEST, 25)
    play.miss(LAYER)
    assert play.over(60) == []
    play.log.appeared(LAYER, 75)
    (pull,) = play.over()
    assert (pull["size"], pull["share"]) == (100, 0.25)
    assert pull["sources"]["elsewhere"] == 0.75
    assert pull["slowed"] == ["went elsewhere for 1 of 2: nobody had it"]
    assert pull["ended"] - pull["began"] == 60


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    play = Play()
    play.miss(LAYER)
    (pull,) = play.over(3600)
    assert "did not end while it was looked at" in pull["slowed"]


def test_where_elsewhere_is_not_seen_it_is_not_waited_for() -> None:
    play = Play(sees_elsewhere=False)
    play.miss(LAYER)
    assert len(play.over()) == 1


def test_pulls_of_two_images_are_two() -> None:
    play = Play()
    play.give(LAYER, 10)
    play.give(CONFIG, 5, by=OTHER)
    assert {pull["image"].partition("@")[0] for pull in play.over()} == {"ghcr.io/corp/app", "ghcr.io/corp/other"}


def test_tags_of_one_repository_are_two() -> None:
    play = Play()
    for tag, digest in (("v1", LAYER), ("v2", CONFIG)):
        play.ask_tag(tag)
        play.give(digest, 10)
    assert [pull["image"] for pull in play.over()] == ["ghcr.io/corp/app:v2", "ghcr.io/corp/app:v1"]


def test_a_question_that_moves_nothing_is_no_pull() -> None:
    play = Play()
    play.ask_tag("v1")
    assert play.over() == []


def test_one_under_way_is_shown_and_not_told() -> None:
    play = Play()
    play.give(MANIFEST, 10)
    pull = play.log.begins(APP, LAYER)
    assert play.over(30) == []
    assert [each["size"] for each in play.log.under_way()] == [10]
    play.log.ends(pull, waited=4.2)
    assert play.over()[0]["slowed"] == ["waited 4.2 s for a first byte"]
