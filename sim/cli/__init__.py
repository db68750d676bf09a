"""The command line: a function per command, parsing and exit codes in one place."""
