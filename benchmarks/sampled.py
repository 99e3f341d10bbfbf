"""Runs a program as `python -m` does, and keeps where it used its processor: stacks by time of the processor.

`python -m benchmarks.sampled FILE MODULE …`. What waits, or was pushed off its processor by others, is not counted, so
samples of a busy machine are good as well. Only the main thread is seen. They are written when the program ends.
"""

from __future__ import annotations

import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.002
"""Seconds of processor time between two samples."""

START = 4.0
"""Seconds after which sampling begins: until then the program starts, and caches fill."""


class Samples:
    """Return the samples by stack, outermost function first."""

    def __init__(self) -> None:
        self.stacks: Counter[str] = Counter()
        self._begin = time.monotonic() + START

    def take(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() < self._begin:
            return
        names = []
        while frame is not None:
            names.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}")
            frame = frame.f_back
        self.stacks[";".join(reversed(names))] += 1


def main() -> None:
    """Run the program."""
    path, sys.argv = Path(sys.argv[1]), sys.argv[2:]
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text("".join(f"{stack} {count}\n" for stack, count in samples.stacks.items()))


if __name__ == "__main__":
    main()
