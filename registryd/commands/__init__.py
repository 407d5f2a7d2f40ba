"""One module per sub-command; printing and exit codes live here.

No behaviour that a test could only reach through a terminal.
"""
