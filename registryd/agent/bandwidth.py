"""Keeping to how much may be moved: by the settings, the file that is watched, and the time of the day."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

from registryd.agent.lines_file import LinesFile
from registryd.config.agent import SettingsError
from registryd.config.bandwidth import Limit, Rates, parse_limits, rates_at
from registryd.content.background import Background
from registryd.identity.watch import looks_at
from registryd.notation import format_size
from registryd.transfer.allowance import Allowance
from registryd.transfer.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.config.agent import Settings

_log = logging.getLogger(__name__)

# Seconds: a window begins so late at most, and a file system that tells nothing of changes is looked at so often.
_LOOK_SECONDS: Final = 3.0
# Of the file. A line has some fifty bytes.
_MAX_BYTES: Final = 64 * 1024


class Bandwidth:
    """The limits of this agent, or of this cache. They hold from the beginning. Raises SettingsError."""

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime] = datetime.now) -> None:
        """`clock`: the node's own time, as people there read it."""
        peers = settings.peers
        self._clock = clock
        self._file = LinesFile(
            settings.bandwidth.file,
            parse_limits,
            most_bytes=_MAX_BYTES,
            unreadable="bandwidth.file cannot be read, and its earlier limits stay in force",
        )
        self._otherwise = Rates(
            peers.max_upload_rate,
            peers.max_download_rate,
            settings.cache.max_origin_rate,
            settings.bandwidth.background,
        )
        try:
            self._fixed = parse_limits(settings.bandwidth.limits)
        except ValueError as error:
            raise SettingsError("bandwidth.limits", str(error)) from error
        self._of_file: Sequence[Limit] = ()
        self.rates = self._otherwise
        self.background = Background()
        self.uploads = Uploads(most=peers.max_uploads)
        self.downloads = Allowance()
        self.origin = Allowance()
        self._read()
        self._apply(is_first=True)

    @property
    def may_change(self) -> bool:
        """Whether anything but a restart can change it."""
        return bool(self._file.paths or self._fixed)

    async def run(self) -> NoReturn:
        """Follow the file and the time until cancelled."""
        async with aclosing(looks_at(self._file.paths, every=_LOOK_SECONDS)) as looks:
            async for _ in looks:
                await asyncio.to_thread(self._read)
                self._apply()
        raise AssertionError("it looks until it is cancelled")

    def _read(self) -> None:
        limits = self._file.read()
        if limits is not None:
            self._of_file = limits

    def _apply(self, *, is_first: bool = False) -> None:
        rates = rates_at(self._clock(), (*self._of_file, *self._fixed), self._otherwise)
        if rates == self.rates and not is_first:
            return
        self.rates = rates
        self.uploads.set_rate(rates.upload)
        for allowance, rate in ((self.downloads, rates.download), (self.origin, rates.origin)):
            allowance.bytes_per_second, allowance.background = rate, rates.background_share
        if not is_first or rates != Rates():
            _log.info("bandwidth", extra=told(rates))


def told(rates: Rates) -> dict[str, str]:
    """The limits as users read them."""
    named = {"upload": rates.upload, "download": rates.download, "origin": rates.origin}
    limits = {name: f"{format_size(rate)}/s" if rate else "no limit" for name, rate in named.items()}
    return {**limits, "background": f"{rates.background} %"}
