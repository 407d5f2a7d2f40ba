"""After all faults, agents hold what they held before them. (This file's name puts it last.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.faults.puller import settled

if TYPE_CHECKING:
    from e2e.faults.field import Field

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_nothing_is_left_of_all_this(field: Field) -> None:
    """Descriptors, tasks and ingests are as before the first fault."""
    for puller in field.pullers:
        await puller.know()
        await puller.hang_up()
        print(f"{puller.name}: {await puller.holdings()}, at first {puller.first}")
        await settled(puller.is_as_at_first, f"{puller.name} holds more than {puller.first}")
        assert not puller.ingests()
