"""After all faults, agents hold what they held before the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.faults.holder import settled
from lab.errors import LabError

if TYPE_CHECKING:
    from e2e.faults.field import Field


async def require_nothing_left(field: Field) -> None:
    """Raises LabError for a descriptor, a task or an ingest that was left."""
    for puller in field.pullers:
        await puller.know()
    for puller in field.pullers:
        await puller.hang_up()
        try:
            await settled(puller.is_as_at_first, f"{puller.name} does not let go")
        except LabError as error:
            held = f"{await puller.holdings()}, at first {puller.first}: {' '.join(puller.descriptors())}"
            raise LabError(f"{puller.name} holds {held}") from error
        if ingests := puller.ingests():
            raise LabError(f"{puller.name} has ingests left: {ingests}")
