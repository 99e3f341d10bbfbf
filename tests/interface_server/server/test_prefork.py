"""The signals of the parent, when a child has already ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal
from channels_classic.interface_server.server.prefork import Prefork

real = os.waitpid

def waitpid(pid, options):
    found = real(pid, options)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        os.kill(os.getpid(), number)  # now the child is in the books but no longer there
    return found

os.waitpid = waitpid
Prefork(1, lambda: None, lambda: None).run()
print("ended", flush=True)
"""


def test_signals_for_a_child_that_has_just_ended_break_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "ended\n"), found.stderr
