"""Which registryd this is. Asking the installed distribution instead would load a zip and a mail library."""

VERSION = "0.1.0.dev0"

# The Server header of our own words, by which `install` and `doctor` know who is at a port.
SERVER = "registryd"
