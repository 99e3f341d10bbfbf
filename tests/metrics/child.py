"""A process that answers with samples, until it is killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.processes import Process
from tests.support.site import ROOT

PROGRAM = """
import sys, threading
from pathlib import Path
from channels_classic._metrics.exchange import Exchange
from tests.metrics.test_samples import some
with Exchange(Path(sys.argv[1])).answering(some):
    print("answers", flush=True)
    threading.Event().wait()
"""


@contextmanager
def children(folder: Path, count: int) -> Iterator[list[Process]]:
    """Some processes that answer in the folder of an exchange."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        processes = [stack.enter_context(Process(command, cwd=ROOT)) for _ in range(count)]
        for process in processes:
            process.wait_for_line("answers")
        yield processes
