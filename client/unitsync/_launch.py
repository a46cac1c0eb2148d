"""Run as a program of its own (python -I -S) by spawn.py: leaves everything of its
caller behind, and replaces itself by the coordinator.

It is a separate program because a process with threads must not run Python between
fork and exec. Arguments: the command. Descriptor 1 is the pipe that the coordinator
reports on; the command gets it as ``--ready-fd 3``.
"""

import os
import sys

REPORT_FD = 3


def main() -> None:
    command = sys.argv[1:]
    os.dup2(1, REPORT_FD)
    os.dup2(0, 1)
    close_above(REPORT_FD)
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.umask(0o077)
        os.chdir("/")
        os.execv(command[0], [*command, "--ready-fd", str(REPORT_FD)])
    except OSError as exc:
        os.write(REPORT_FD, f"error: {command[0]}: {exc.strerror}\n".encode())
        os._exit(1)


def close_above(last: int) -> None:
    """Close every descriptor above *last*: what a shell script opened is inherited by
    all its children, and a lock held so would be held as long as the coordinator."""
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) > last:
            try:
                os.close(int(entry))
            except OSError:
                pass  # the one that listed the folder


if __name__ == "__main__":
    main()
