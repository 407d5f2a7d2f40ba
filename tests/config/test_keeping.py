"""Lines that say of which images there are to be copies."""

from __future__ import annotations

import pytest

from registryd.config.agent import ImagesSettings, SettingsError
from registryd.config.keeping import Wanted, parse_rules, wanted_of


def test_the_most_of_all_lines_that_match_is_wanted() -> None:
    rules = parse_rules(["# ours", "ghcr.io/corp/* copies=2", "*:v1 copies=3 zones=2  # and those"])
    assert wanted_of(rules, "ghcr.io/corp/app:v2", "ghcr.io/corp/app") == Wanted(2)
    assert wanted_of(rules, "ghcr.io/corp/app:v1", "ghcr.io/corp/app") == Wanted(3, 2)
    assert wanted_of(rules, "docker.io/library/alpine:3", "docker.io/library/alpine") is None


@pytest.mark.parametrize(
    "line",
    [
        "ghcr.io/corp/*",
        "lab.io/a copies=0",
        "lab.io/a copies=9",
        "lab.io/a copies=2 zones=3",
        "lab.io/a copies=2 zones=0",
        "lab.io/a copies=x",
        "lab.io/a copies=2 copies=3",
        "lab.io/a b",
        "nginx:1 copies=2",
    ],
)
def test_a_line_that_is_none_is_an_error(line: str) -> None:
    with pytest.raises(SettingsError, match=r"images\.keep"):
        ImagesSettings(keep=(line,))


def test_a_login_has_to_be_meant(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("logins") / "config.json"
    with pytest.raises(SettingsError, match="every pod"):
        ImagesSettings(keep_docker_config=file)
    assert ImagesSettings(keep_docker_config=file, keep_for_every_pod=True).keep_docker_config == file
