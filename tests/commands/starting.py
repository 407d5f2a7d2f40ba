"""A command as `registryd agent` is one, for an agent that tells about its process."""

from registryd.commands.afresh import run_afresh
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings


@takes_settings()
def start(settings: Settings) -> None:
    run_afresh("tests.commands.telling:telling", settings)
