"""An agent for which silence lasts a fifth as long: `python -m lab.hurried_silence MANNER agent --config FILE`.

Whatever is silent is found to be gone or stuck after 0.6 and 3 s in place of 3 and 15, and so on. The rest is as in
`lab.odd_stripes`.
"""

from __future__ import annotations

import runpy
from typing import Final

from registryd.transfer.monitoring import thresholds

FACTOR: Final = 5.0
_SILENCES: Final = (
    *("GONE_SECONDS", "GONE_LOOK_SECONDS", "GONE_LONGEST_LOOK_SECONDS", "GROWING_STALL_TIMEOUT"),
    *("HELD_UP_SECONDS", "HELD_UP_LONGEST_SECONDS", "GIVING_STALL_TIMEOUT"),
    *("GROWING_FLOOR_WINDOW_SECONDS", "STRIPE_SILENCE_SECONDS"),
)
STALL_SECONDS: Final = thresholds.GROWING_STALL_TIMEOUT / FACTOR

if __name__ == "__main__":
    for name in _SILENCES:  # nobody has read them yet
        setattr(thresholds, name, getattr(thresholds, name) / FACTOR)
    runpy.run_module("lab.odd_stripes", run_name="__main__", alter_sys=True)
