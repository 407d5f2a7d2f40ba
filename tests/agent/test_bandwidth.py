"""Limits follow the file and the hour, for what is under way as well; a file that is wrong lifts none."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from registryd.agent.bandwidth import Bandwidth
from registryd.config.agent import BandwidthSettings, PeersSettings, Settings, SettingsError
from registryd.config.bandwidth import Rates
from registryd.oci.reference import Repository
from tests.transfer.test_uploads import FakeSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1 << 20
APP = Repository.parse("ghcr.io/corp/app")


@dataclass
class Hour:
    """The node's clock."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 11, 30, 9))  # noqa: DTZ001

    def __call__(self) -> datetime:
        return self.moment


@asynccontextmanager
async def running(bandwidth: Bandwidth) -> AsyncIterator[None]:
    task = asyncio.create_task(bandwidth.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(bandwidth: Bandwidth, rates: Rates) -> None:
    """Generous: files are looked at every three seconds where nobody tells of changes."""
    async with asyncio.timeout(30):
        while bandwidth.rates != rates:  # noqa: ASYNC110 - as people look
            await asyncio.sleep(0.02)


async def test_settings_alone_need_nobody_who_follows_them() -> None:
    bandwidth = Bandwidth(Settings(peers=PeersSettings(max_upload_rate=5 * MIB, max_download_rate=6 * MIB)))
    assert not bandwidth.may_change
    assert bandwidth.downloads.bytes_per_second == 6 * MIB
    sock = FakeSocket()
    with bandwidth.uploads.begin(sock):
        assert sock.paces == [5 * MIB]


async def test_the_file_changes_what_is_under_way(tmp_path: Path) -> None:
    file = tmp_path / "limits"
    file.write_text("upload=4MiB download=9MiB background=10%\n")
    bandwidth = Bandwidth(Settings(bandwidth=BandwidthSettings(file=file)))
    assert bandwidth.rates == Rates(4 * MIB, 9 * MIB, background=10)
    sock = FakeSocket()
    async with running(bandwidth):
        with bandwidth.uploads.begin(sock):
            file.write_text("upload=2MiB\n")
            await until(bandwidth, Rates(2 * MIB))
            assert sock.paces == [4 * MIB, 2 * MIB]
            assert (bandwidth.downloads.bytes_per_second, bandwidth.downloads.background) == (0, 0.25)
            file.write_text("# nothing is limited\n")
            await until(bandwidth, Rates())
            assert sock.paces[-1] == 2**32 - 1


async def test_a_file_that_is_wrong_or_gone_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "limits"
    file.write_text("upload=4MiB\n")
    bandwidth = Bandwidth(Settings(bandwidth=BandwidthSettings(file=file)))
    async with running(bandwidth):
        file.write_text("upload=soon\n")
        async with asyncio.timeout(30):
            while "stay in force" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        file.unlink()
        file.with_suffix(".new").write_text("upload=3MiB\n")
        assert bandwidth.rates == Rates(4 * MIB)
        file.with_suffix(".new").rename(file)
        await until(bandwidth, Rates(3 * MIB))


async def test_windows_begin_and_end(tmp_path: Path) -> None:
    hour = Hour()
    settings = BandwidthSettings(limits=("mon-fri 08:00-18:00 download=5MiB",), file=tmp_path / "none yet")
    bandwidth = Bandwidth(Settings(bandwidth=settings), clock=hour)
    assert bandwidth.downloads.bytes_per_second == 5 * MIB
    async with running(bandwidth):
        hour.moment = hour.moment.replace(hour=18)
        await until(bandwidth, Rates())
        # The file goes before the settings.
        (tmp_path / "none yet").write_text("download=7MiB")
        await until(bandwidth, Rates(download=7 * MIB))


def test_a_line_that_is_none_is_an_error_of_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"bandwidth\.limits.*expected days"):
        BandwidthSettings(limits=("daily upload=1MiB",))
