"""Several Daphnes on one port: Daphne has no option for that, but serves a socket that is already open.

`python -m benchmarks.project.daphnes PORT NUMBER`
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def main(port: str, number: str) -> None:
    """Start them, and wait until they end."""
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
    descriptor = os.dup(listener.fileno())
    os.set_inheritable(descriptor, True)
    options = ["--fd", str(descriptor), "--access-log", os.devnull]
    command = [sys.executable, "-m", "daphne", *options, "benchmarks.project.channels_4:application"]
    programs = [subprocess.Popen(command, close_fds=False) for _ in range(int(number))]
    listener.close()
    for program in programs:
        program.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
