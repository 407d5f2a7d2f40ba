"""`registryd import` and `registryd export` as commands: the archive's own functions, with the store's flags."""

from registryd.commands.archive import export_archive, import_archive
from registryd.commands.settings_flags import takes_settings

import_command = takes_settings("store")(import_archive)
export_command = takes_settings("store")(export_archive)
