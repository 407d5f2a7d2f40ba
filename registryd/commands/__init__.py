"""One module per sub-command that is not the agent; printing and exit codes live here. No behaviour that a test could not reach without a terminal."""
