from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.identity.errors import SecretInvalid
from registryd.identity.node_token import TOKEN_HEADER, NodeToken, ensure_token, read_token
from tests.identity.parties import NEW, OLD, write_secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_a_made_token_is_for_its_owner_only_and_is_kept(path: Path) -> None:
    token = ensure_token(path)
    assert token.startswith("registryd_token_")
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_token(path) == read_token(path) == token
    assert list(path.parent.iterdir()) == [path]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SecretInvalid, match="No such file"):
        ensure_token(tmp_path / "none" / "token")


def test_a_token_that_is_not_there_comes_from_the_set_up(tmp_path: Path) -> None:
    with pytest.raises(SecretInvalid, match=r"No such file or directory; `registryd install` makes it$"):
        read_token(tmp_path / "token")


def test_only_the_tokens_are_admitted(path: Path) -> None:
    node_token = NodeToken(write_secrets(path, NEW, OLD))
    assert node_token.admits(NEW)
    assert node_token.admits(OLD)
    for wrong in (None, "", NEW[:-1], NEW + " ", NEW.upper(), f"{NEW}\n{OLD}", "ü", "\udcff", "\ud800"):
        assert not node_token.admits(wrong)


def test_a_new_file_counts_and_a_broken_one_changes_nothing(path: Path) -> None:
    node_token = NodeToken(write_secrets(path, OLD))
    write_secrets(path, NEW)
    node_token.refresh()
    assert node_token.admits(NEW)
    assert not node_token.admits(OLD)
    path.unlink()
    with pytest.raises(SecretInvalid):
        node_token.refresh()
    assert node_token.admits(NEW)


async def test_the_file_is_followed(path: Path) -> None:
    node_token = NodeToken(write_secrets(path, OLD))
    following = asyncio.create_task(node_token.keep_current())
    await asyncio.sleep(0)
    write_secrets(path, NEW)
    async with asyncio.timeout(10):
        while not node_token.admits(NEW):  # noqa: ASYNC110 - the token tells nobody that it is new
            await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_nothing_secret_in_representations(path: Path) -> None:
    assert OLD not in repr(vars(NodeToken(write_secrets(path, OLD))))


def test_the_header_is_ours_and_not_the_pulls() -> None:
    assert TOKEN_HEADER == "Registryd-Token"
