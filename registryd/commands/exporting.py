"""Writing an export: what turns out to be damaged is left out with its image, and the rest is written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.commands.archive_file import is_stream, writing_archive
from registryd.store.archive.copying import damaged_among
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.store.archive.writing import write_archive
from registryd.store.directory.durable import write_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from registryd.content.source import ContentSource
    from registryd.oci.digest import Digest
    from registryd.store.archive.writing import ArchivePlan

    Planning = Callable[[Mapping[Digest, str]], Awaitable[ArchivePlan]]


async def write_out(archive: str, store: ContentSource, planning: Planning) -> ArchivePlan:
    """Write what is planned without what is damaged; returns that plan. When it has no image, nothing was written.

    A file is begun again. What went into a pipe cannot be taken back, so all is read first. Raises ArchiveIncomplete
    for what is damaged only then, and whatever `planning` and writing raise.
    """
    damaged: dict[Digest, str] = {}
    plan, cannot_be_undone = await planning(damaged), is_stream(archive)
    if cannot_be_undone and (damaged := await damaged_among(store, plan.contents.there)):
        plan = await planning(damaged)
    while plan.images or plan.unnamed:
        try:
            with writing_archive(archive) as fd:
                await write_archive(partial(write_all, fd), store, plan)
        except ArchiveIncomplete as error:
            if cannot_be_undone:
                raise
            # All of it is looked at now: to begin once more for each would take long on a disk that fails.
            damaged |= {error.digest: error.why, **await damaged_among(store, plan.contents.there)}
            plan = await planning(damaged)
        else:
            break
    return plan
