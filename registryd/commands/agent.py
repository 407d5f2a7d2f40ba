"""`registryd agent`: the settings are known to be sound and the log works before the first part is built."""

import asyncio

from registryd.commands.settings_flags import takes_settings
from registryd.identity.tls_version import refuse_old_tls
from registryd.logs import set_up_logs
from registryd.settings import Settings, check


@takes_settings()
def run_agent(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; raises `CommandFailed` if the agent cannot start."""
    check(settings)
    set_up_logs(form=settings.log.format, level=settings.log.level)
    refuse_old_tls()
    # Here and not above: help and a wrong setting need not wait for the network libraries.
    from registryd.agent.running import run  # noqa: PLC0415

    asyncio.run(run(settings))
