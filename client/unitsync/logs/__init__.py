"""The output of commands: on its way into log files, the files, and the verb ``logs``."""
