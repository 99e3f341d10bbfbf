"""Runs the live blog as it would run in earnest: one interface server and two workers, each a process of its own.

``make demo`` calls it. ``PORT`` moves it, ``REDIS_URL`` sends the messages through Redis. Ctrl-C stops everything.
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


class News(Enum):
    LISTENING = "The interface server listens."
    READY = "A page was answered, so the workers work."
    STOP = "Somebody wants the demo to end."


class Child:
    """One process of the site. Its lines are shown as they come; its end is put among the news."""

    def __init__(self, name: str, arguments: list[str], news: SimpleQueue[object]) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=15)
        self.process = subprocess.Popen(
            [*MANAGE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C in the terminal reaches this script alone, which then stops its children in order.
            start_new_session=True,
        )
        threading.Thread(target=self._show, args=[news], daemon=True).start()

    def _show(self, news: SimpleQueue[object]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last_lines.append(line.rstrip())
            say(f"{DIM}{self.name:>9} │ {line.rstrip()}{PLAIN}")
        self.process.wait()
        news.put(self)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            say(f"{self.name.capitalize()} did not end within {GRACE} s and is killed.")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it, and whatever it left behind


def main() -> int:
    news: SimpleQueue[object] = SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        news.put(News.STOP)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)

    port = free_port_from_environment()
    manage("migrate", "--verbosity=0")
    login = manage("fill")

    children = [Child("interface", ["runinterface", "--bind", HOST, "--port", str(port)], news)]
    try:
        threading.Thread(target=knock, args=[port, news], daemon=True).start()
        while True:
            match news.get():
                case News.LISTENING:
                    children += [Child(f"worker {number}", ["runworker"], news) for number in (1, 2)]
                case News.READY:
                    welcome(port, login)
                case News.STOP:
                    say("\nStopping …")
                    return 0
                case Child() as child:
                    say(f"\n{child.name.capitalize()} ended with status {child.process.returncode}. It said last:")
                    say("\n".join(f"  {line}" for line in child.last_lines))
                    return 1
    finally:
        # Workers first: the embedded layer lives in the interface server, and they have yet to finish.
        for child in reversed(children):
            child.stop()


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


def knock(port: int, news: SimpleQueue[object]) -> None:
    """Tell when the interface server listens, and when a worker has answered the first page through it."""
    connection = http.client.HTTPConnection(HOST, port)
    while True:
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)  # There is nothing to wait for at a port that nobody listens on.
    news.put(News.LISTENING)
    # When a process dies meanwhile there is no answer; its end is news of its own.
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/")
        status = connection.getresponse().status
        if status == 200:
            news.put(News.READY)
        else:
            say(f"The first page has status {status}; the lines above may say why.")


def welcome(port: int, login: str) -> None:
    redis = f"REDIS_URL={os.environ['REDIS_URL']} " if os.environ.get("REDIS_URL") else ""
    python, _, script = (os.path.relpath(part) if os.sep in part else part for part in MANAGE)
    say(f"""
  The live blogs are at  http://{HOST}:{port}/  Open one of them in two windows.
  Log in as staff with   {login}  to post from the page or the admin.
  Post from a shell with {redis}{python} {script} post total-eclipse "Hello"

  Ctrl-C stops everything.
""")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
