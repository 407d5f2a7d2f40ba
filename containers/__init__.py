"""The container image, built without an engine. None of this is part of the program."""
