from dataclasses import fields

import pytest

from registryd.config.agent import Settings
from registryd.config.options import all_options

OPTIONS = all_options()


def test_every_field_is_an_option_with_a_help_text() -> None:
    keys = [f"{section.name}.{field.name}" for section in fields(Settings) for field in fields(section.type)]  # type: ignore[arg-type]
    assert list(OPTIONS) == keys
    assert all(option.help for option in OPTIONS.values())


def test_an_option_has_the_same_name_in_every_source() -> None:
    option = OPTIONS["peers.find_timeout"]
    assert (option.flag, option.variable) == ("--peers.find_timeout", "REGISTRYD_PEERS_FIND_TIMEOUT")


def test_variables_are_told_apart() -> None:
    assert len({option.variable for option in OPTIONS.values()}) == len(OPTIONS)


@pytest.mark.parametrize("key", OPTIONS)
def test_a_default_is_read_from_what_is_shown_of_it(key: str) -> None:
    option = OPTIONS[key]
    assert option.read([option.show(option.default)]) == option.default
