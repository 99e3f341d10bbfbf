"""Runs the live blog as a site would: one interface server and two workers, each a process of its own.

`make demo` calls it. `PORT` moves it, `REDIS_URL` sends the messages through Redis. A process that ends is
started again, so kill as many as you like. Ctrl-C stops everything.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

MANAGE = [sys.executable, "-u", str(Path(__file__).with_name("manage.py"))]
HOST = "127.0.0.1"
GRACE = 15  # seconds that a process has to finish what it is doing

DIM, PLAIN = ("\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "")


YOUNG = 3.0  # seconds; a process that fails sooner than this will fail again
YOUNG_FAILURES = 3  # after this many, one after the other, the demo ends
DELIBERATE = {
    0,
    *(-number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM)),
}
PAGE_ATTEMPTS = 5


class Event(Enum):
    LISTENING = "The interface server listens."
    READY = "A page was answered, so the workers work."
    UNANSWERED = "The first page failed each time."
    STOP = "The demo is to end."


class Child:
    """One process of the site, started again with `start`. Its lines are shown as they come; its end is an event."""

    def __init__(self, name: str, arguments: list[str], events: SimpleQueue[object]) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=15)
        self.young_failures = 0
        self._arguments = arguments
        self._events = events
        self.start()

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self._started = time.monotonic()
        self.last_lines.clear()
        self.process = subprocess.Popen(
            [*MANAGE, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C in the terminal reaches this script alone, which then stops its children in order.
            start_new_session=True,
        )
        threading.Thread(target=self._show, args=[self.process], daemon=True).start()

    def _show(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.last_lines.append(line.rstrip())
            say(f"{DIM}{self.name:>9} │ {line.rstrip()}{PLAIN}")
        process.wait()
        failed_young = process.returncode not in DELIBERATE and time.monotonic() - self._started < YOUNG
        self.young_failures = self.young_failures + 1 if failed_young else 0
        self._events.put(self)

    def stop(self) -> None:
        """Stop the process, and whatever it left behind."""
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            say(f"{self.name.capitalize()} did not end within {GRACE} s and is killed.")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def main() -> int:
    events: SimpleQueue[object] = SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        events.put(Event.STOP)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)

    port = free_port_from_environment()
    manage("migrate", "--verbosity=0")
    login = manage("fill")

    children = [Child("interface", ["runinterface", "--bind", HOST, "--port", str(port)], events)]
    try:
        threading.Thread(target=wait_for_first_page, args=[port, events], daemon=True).start()
        while True:
            match events.get():
                case Event.LISTENING:
                    children += [Child(f"worker {number}", ["runworker", "-v", "2"], events) for number in (1, 2)]
                case Event.READY:
                    welcome(port, login, [child.process.pid for child in children[1:]])
                case Event.UNANSWERED:
                    return 1
                case Event.STOP:
                    say("\nStopping …")
                    return 0
                case Child() as child if child.young_failures < YOUNG_FAILURES:
                    restart(child)
                case Child() as child:
                    say(f"\n{child.name.capitalize()} ended with status {child.process.returncode}. Its last lines:")
                    say("\n".join(f"  {line}" for line in child.last_lines))
                    return 1
    finally:
        # Workers first: the embedded layer lives in the interface server, and they have yet to finish.
        for child in reversed(children):
            child.stop()


def restart(child: Child) -> None:
    """Start a process that has ended again, and explain what a visitor sees of it."""
    status, old = child.process.returncode, child.process.pid
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    child.start()
    seen = "It is tried again."
    if status in DELIBERATE and child.name == "interface":
        seen = "Pages reconnect by themselves, and ask for what they missed."
    elif status in DELIBERATE:
        seen = "No page notices: the interface server keeps every socket open, and messages wait for a worker."
    say(f"\n  {child.name.capitalize()} (process {old}) {how}. {seen} Process {child.process.pid} takes its place.\n")


def free_port_from_environment() -> int:
    value = os.environ.get("PORT") or "8000"
    if not value.isdecimal() or not 0 < int(value) < 65536:
        sys.exit(f"PORT is {value!r}, but a port is a number from 1 to 65535: PORT=8001 make demo")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(value)))
        except OSError as error:
            sys.exit(f"Port {value} cannot be used: {error.strerror}. Choose another one: PORT=8001 make demo")
    return int(value)


def manage(*arguments: str) -> str:
    """Run a command of the site to its end; return what it printed."""
    command = [*MANAGE, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=False)
    if done.returncode:
        sys.exit(f"`manage.py {' '.join(arguments)}` ended with status {done.returncode}.")
    return done.stdout.strip()


def wait_for_first_page(port: int, events: SimpleQueue[object]) -> None:
    """Report when the interface server listens, and when a worker has answered the first page through it."""
    while True:
        try:
            socket.create_connection((HOST, port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)  # There is nothing to wait for at a port that nobody listens on.
    events.put(Event.LISTENING)
    for attempt in range(1, PAGE_ATTEMPTS + 1):
        problem = first_page(port)
        if not problem:
            events.put(Event.READY)
            return
        say(f"\n  The first page failed: {problem} Attempt {attempt} of {PAGE_ATTEMPTS}.\n")
        time.sleep(1)
    say(f"  The site does not answer: {explain_layer()}")
    events.put(Event.UNANSWERED)


def first_page(port: int) -> str:
    """Ask for the first page; return what went wrong, or nothing."""
    connection = http.client.HTTPConnection(HOST, port)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"the interface server did not answer ({type(error).__name__})."
    finally:
        connection.close()
    reasons = {
        200: "",
        500: "the view raised an exception; a worker's lines above have it.",
        503: "no worker answered it in time, or the channel layer cannot be reached.",
    }
    return reasons.get(status, f"its status is {status}.")


def explain_layer() -> str:
    """Return what `manage.py channels_check` finds."""
    done = subprocess.run([*MANAGE, "channels_check"], capture_output=True, text=True, check=False)
    return f"`manage.py channels_check` says:\n{done.stdout}{done.stderr}"


def welcome(port: int, login: str, workers: list[int]) -> None:
    redis = f"REDIS_URL={os.environ['REDIS_URL']} " if os.environ.get("REDIS_URL") else ""
    python, _, script = (os.path.relpath(part) if os.sep in part else part for part in MANAGE)
    say(f"""
  The live blogs are at  http://{HOST}:{port}/  Open one of them in two windows.
  Log in as staff with   {login}  to post from the page or the admin.
  Post from a shell with {redis}{python} {script} post total-eclipse "Hello"
  Kill a worker with     kill -9 {workers[0]}  (or {workers[1]}, or both): no page loses its socket.

  From here on each line shows which worker consumed which message.

  Ctrl-C stops everything.
""")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
