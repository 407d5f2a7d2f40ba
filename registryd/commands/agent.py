"""`registryd agent`: the settings are known to be sound before the first part is built."""

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from registryd.commands.afresh import run_afresh
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings, check


@takes_settings()
def run_agent(settings: Settings, *, configure_containerd: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Run until SIGTERM or SIGINT; raises `CommandFailed` if the agent cannot start.

    Args:
        settings: The agent's settings.
        configure_containerd: Make containerd ask this agent first: short for --agent.configure_containerd.
    """
    if configure_containerd:
        settings = replace(settings, agent=replace(settings.agent, configure_containerd=True))
    check(settings)
    run_afresh("registryd.agent.assembly:open_agent", settings)
