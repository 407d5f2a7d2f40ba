"""What is wrong with a file that proves who somebody is, is said by the setting that names it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.agent.credentials import make_credentials, make_token
from registryd.agent.node_setup import prepare_token
from registryd.aio.scope import open_scope
from registryd.config.agent import PeersSettings, RegistrySettings, Settings, SettingsError
from registryd.observability.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    async with open_scope() as scope:
        with pytest.raises(SettingsError) as caught:
            await make_credentials(replace(Settings(), peers=PeersSettings(secret_file=absent)), scope, Metrics())
    assert (
        str(caught.value)
        == f"peers.secret_file: {absent}: No such file or directory; `registryd secret new` prints one"
    )


async def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    peers = PeersSettings(tls_cert=absent, tls_key=absent, tls_ca=absent)
    async with open_scope() as scope:
        with pytest.raises(SettingsError) as caught:
            await make_credentials(replace(Settings(), peers=peers), scope, Metrics())
    assert str(caught.value) == f"peers.tls_cert: {absent}: No such file or directory"


@pytest.mark.parametrize("insecure", [True, False])
async def test_an_open_cluster_is_loud_in_the_log_and_in_the_metrics(
    insecure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    async with open_scope() as scope:
        await make_credentials(replace(Settings(), peers=PeersSettings(insecure=insecure)), scope, metrics)
    assert ("peers.insecure is set: anyone who reaches the peers' ports" in caplog.text) is insecure
    assert f"registryd_peers_insecure {float(insecure)}\n" in metrics.render().decode()


async def test_a_token_that_is_none(tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.touch()
    async with open_scope() as scope:
        with pytest.raises(SettingsError, match=r"^cache\.token_file: .*: has 0 lines"):
            make_token("cache.token_file", empty, scope)


def test_a_token_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^registry\.token_file: ") as caught:
        prepare_token(RegistrySettings(token_file=tmp_path / "file" / "token"))
    assert caught.value.exit_code == 2
