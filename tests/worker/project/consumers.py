"""Consumers that answer on the channel that the message names."""

from __future__ import annotations

import os
import sys
import time

from channels_classic import Channel
from channels_classic.message import Message


def echo(message: Message) -> None:
    Channel(message["answer"]).send({"number": message["number"], "pid": os.getpid()})


def work(message: Message) -> None:
    """Say so on standard output, be busy for some seconds, and answer."""
    sys.stdout.write("working\n")
    sys.stdout.flush()
    time.sleep(message["seconds"])
    Channel(message["answer"]).send({"number": message["number"], "pid": os.getpid()})


def crash(message: Message) -> None:
    os._exit(3)


def leave(message: Message) -> None:
    sys.exit(4)


channel_routing = {"echo": echo, "work": work, "crash": crash, "leave": leave}
