"""`registryd agent`: the settings are known to be sound and the log works before the first part is built."""

import asyncio
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from registryd.commands.settings_flags import takes_settings
from registryd.identity.tls_version import refuse_old_tls
from registryd.logs import set_up_logs
from registryd.settings import Settings, check


@takes_settings()
def run_agent(settings: Settings, *, configure_containerd: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Run until SIGTERM or SIGINT; raises `CommandFailed` if the agent cannot start.

    Args:
        settings: The agent's.
        configure_containerd: Put this agent into containerd's configuration; short for --agent.configure_containerd.
    """
    if configure_containerd:
        settings = replace(settings, agent=replace(settings.agent, configure_containerd=True))
    check(settings)
    set_up_logs(form=settings.log.format, level=settings.log.level)
    refuse_old_tls()
    # Here and not above: help and a wrong setting need not wait for the network libraries.
    from registryd.agent.running import run  # noqa: PLC0415

    asyncio.run(run(settings))
