"""How long a minted certificate counts, and when the next one is due."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# A copied key is worthless after a day.
LIFETIME: Final = timedelta(hours=24)
# Two thirds: a node that cannot renew has a third of a lifetime to be put right, and clocks that are ahead by as
# much do no harm.
RENEW_AFTER: Final = timedelta(hours=16)
# As much tolerance for clocks that are behind. It makes nothing last longer.
BACKDATED: Final = timedelta(hours=8)
