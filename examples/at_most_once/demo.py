"""Ten thousand numbered messages through four workers, while things go wrong; then: what became of each of them.

`make demo-at-most-once` calls it. `REDIS_URL` sends the messages through Redis, whose connections are cut: give it
one that nobody else uses.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from progress import Bar
from report import Phase, explanation, picture, table

HERE = Path(__file__).parent
MANAGE = [sys.executable, "-u", "-m", "django"]
WORKERS = 4
TIMEOUT = 60.0
QUIET = 2.0
"""Seconds without any message after which no more will come: consumers work for two milliseconds."""


class Program:
    """One process of the demonstration. What it says is kept."""

    def __init__(self, *arguments: str) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            [*MANAGE, *arguments],
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Return the matches of the pattern, as soon as there are this many."""
        deadline = time.monotonic() + TIMEOUT
        while len(found := re.findall(pattern, self.output)) < times:
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"There is no {pattern!r} in the output of {self._process.args}:\n{self.output}")
            time.sleep(0.05)
        return found

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


class Demo:
    """The programs, the messages sent so far, and the faults."""

    def __init__(self, messages: int, seconds: float, evidence: Path, bar: Bar, stack: ExitStack) -> None:
        self._each = messages // 5
        self._seconds = seconds
        self._evidence = evidence
        self._bar = bar
        self._stack = stack
        self._sent = 0
        self._host = None if "REDIS_URL" in os.environ else self._start("runinterface", "--port=0")
        self._output = ""
        self._workers = self._start_workers()

    def _start(self, *arguments: str) -> Program:
        running = Program(*arguments)
        self._stack.callback(running.stop)
        return running

    def _start_workers(self) -> Program:
        workers = self._start("runworker", f"--processes={WORKERS}")
        workers.wait_for("Worker process [0-9]+ listens", WORKERS)
        return workers

    def run(self) -> list[Phase]:
        """All faults, one after another; between them everything that can still arrive does."""
        return [
            self._phase("nothing goes wrong", lambda: None, "not expected: please report it"),
            self._phase("two workers are killed (SIGKILL)", self._kill, "a worker had taken them when it was killed"),
            self._phase("all workers are replaced (SIGHUP)", self._replace, "not expected: please report it"),
            self._phase("the layer is cut off for 2 s", self._cut, "they were on a connection that broke"),
            self._phase("no worker runs for a while", self._leave, "nobody took them before they expired"),
        ]

    def _phase(self, name: str, fault: Callable[[], object], reason: str) -> Phase:
        first = self._sent
        self._bar.say(name)
        trouble = threading.Timer(self._seconds / 2, fault)
        trouble.start()
        begun = time.monotonic()
        for number in range(self._each):
            time.sleep(max(0.0, begun + number * self._seconds / self._each - time.monotonic()))
            self._send(first + number)
        trouble.join()
        self._settle()
        return Phase(name, range(first, self._sent), reason)

    def _send(self, number: int) -> None:
        """Send a message once. Only what was certainly not sent is tried again; the rest may have arrived."""
        from channels_classic import Channel
        from channels_classic.exceptions import ChannelFull, LayerUnavailable

        while True:
            try:
                Channel("numbers").send({"number": number})
                break
            except ChannelFull:
                time.sleep(0.05)
            except LayerUnavailable as error:
                if error.written:
                    break
                time.sleep(0.05)
        self._sent = number + 1
        self._bar.update(self._sent)

    def _settle(self) -> None:
        """Wait until everything has arrived, or nothing waits and nothing has arrived for a while."""
        arrived, quiet_since = -1, time.monotonic()
        while arrived < self._sent and time.monotonic() < quiet_since + QUIET:
            before, arrived = arrived, sum(self.consumed().values())
            if arrived != before or self._something_waits():
                quiet_since = time.monotonic()
            time.sleep(0.1)

    def _something_waits(self) -> bool:
        from channels_classic import channel_layers
        from channels_classic.exceptions import LayerUnavailable

        try:
            return channel_layers["default"].channel_statistics("numbers")["messages_pending"] > 0
        except LayerUnavailable:
            return True

    def consumed(self) -> Counter[int]:
        """Return how often each message was consumed, from the files that the consumers wrote."""
        return Counter(
            int(line) for file in self._evidence.glob("*.consumed") for line in file.read_text().splitlines()
        )

    def counted_with_killed_workers(self) -> int:
        """Return the messages that dead workers held, as the supervisor reported."""
        return sum(map(int, re.findall(r"holding (\d+) message", self._output + self._workers.output)))

    # Faults

    def _kill(self) -> None:
        for _ in range(2):
            pids = set(re.findall(r"Worker process (\d+) listens", self._workers.output))
            gone = set(re.findall(r"Worker process (\d+) ended", self._workers.output))
            victim = int(sorted(pids - gone)[0])
            os.kill(victim, signal.SIGKILL)
            self._workers.wait_for(f"Worker process {victim} ended")

    def _replace(self) -> None:
        self._workers.signal(signal.SIGHUP)
        self._workers.wait_for(r"Worker process \d+ is replaced", WORKERS)

    def _cut(self) -> None:
        if self._host is not None:
            self._host.signal(signal.SIGSTOP)
            time.sleep(2)
            self._host.signal(signal.SIGCONT)
            return
        import redis

        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "PAUSE", "2000")
        time.sleep(2)

    def _leave(self) -> None:
        from settings import EXPIRY

        self._workers.stop()
        self._output += self._workers.output
        time.sleep(EXPIRY)
        self._workers = self._start_workers()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2.5, help="how long each of the five parts sends")
    parser.add_argument("--picture", type=Path, help="where to put a picture (SVG) of all messages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="at-most-once-") as folder, ExitStack() as stack:
        os.environ |= {"EVIDENCE": folder, "DJANGO_SETTINGS_MODULE": "settings"}
        sys.path.insert(0, str(HERE))
        with Bar(options.messages) as bar:
            demo = Demo(options.messages, options.seconds, Path(folder), bar, stack)
            phases = demo.run()
        consumed = demo.consumed()
        print(table(phases, consumed))
        print(
            f"The supervisor counted {demo.counted_with_killed_workers()} messages with the workers that were killed."
        )
        if options.picture is not None:
            options.picture.write_text(picture(phases, consumed))
            print(f"The picture is in {options.picture}; a browser shows it. {explanation(phases, consumed)}")
    return int(max(consumed.values()) > 1)


if __name__ == "__main__":
    sys.exit(main())
