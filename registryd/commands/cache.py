"""`registryd cache`, and what can be done to its store."""

import asyncio

from registryd.commands.settings_flags import takes_settings
from registryd.logs import set_up_logs
from registryd.settings import Settings


@takes_settings("cache", "upstreams", "authorization", "store", "admin", "log", "agent")
def run_cache(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; raises `CommandFailed` if the cache cannot start."""
    set_up_logs(form=settings.log.format, level=settings.log.level)
    # Here and not above: help and a wrong setting need not wait for the network libraries.
    from registryd.agent.cache import open_cache  # noqa: PLC0415
    from registryd.agent.running import run  # noqa: PLC0415

    asyncio.run(run(settings, opening=open_cache))
