"""Consumers that answer on the channel that the message names, and consumers that no worker should have to run."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from django.db import connection

from channels_classic import Channel, Group
from channels_classic.message import Message
from channels_classic.signals import consumer_failed

_leaked: list[Any] = []


def echo(message: Message) -> None:
    """Answer with the number that was sent, by whom, and when."""
    answer(message["answer"], message["number"])


def work(message: Message) -> None:
    """Say so on standard output, be busy for some seconds, and answer."""
    say(f"{os.getpid()} is working")
    time.sleep(message["seconds"])
    echo(message)


async def work_async(message: Message) -> None:
    """The same as a coroutine."""
    say(f"{os.getpid()} is working")
    await asyncio.sleep(message["seconds"])
    echo(message)


def work_for_group(message: Message) -> None:
    """The same, with an answer to a group."""
    say(f"{os.getpid()} is working")
    time.sleep(message["seconds"])
    Group(message["answer"]).send({"number": message["number"]})


def work_for_recoverable_group(message: Message) -> None:
    """The same, with an answer that the group keeps."""
    say(f"{os.getpid()} is working")
    time.sleep(message["seconds"])
    Group(message["answer"], keep=9).send({"number": message["number"]})


def query(message: Message) -> None:
    """Answer with what the database says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        Channel(message["answer"]).send({"number": cursor.fetchone()[0]})


def crash(message: Message) -> None:
    os._exit(3)


def fail(message: Message) -> None:
    raise ValueError("a consumer's own mistake")


def leave(message: Message) -> None:
    sys.exit(4)


def interrupt(message: Message) -> None:
    raise KeyboardInterrupt("not Ctrl-C")


def leak(message: Message) -> None:
    _leaked.append(b"x" * 2**20 * message["mebibytes"])
    echo(message)


def wait_for_ever(message: Message) -> None:
    say("waiting")
    threading.Event().wait()


def compute_for_ever(message: Message) -> None:
    """Keep every other thread of the process from running, as a computation in C does: the lock of Python is held."""
    say("computing")
    ctypes.PyDLL(None).sleep(3600)


def fork_and_return(message: Message) -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    echo(message)


def fork_and_exit(message: Message) -> None:
    pid = os.fork()
    if not pid:
        sys.exit()
    os.waitpid(pid, 0)
    echo(message)


def fork_a_pool(message: Message) -> None:
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        pool.submit(answer, message["answer"], message["number"]).result()


def answer(channel: str, number: int) -> None:
    """Answer from any process."""
    Channel(channel).send({"number": number, "pid": os.getpid(), "time": time.monotonic()})


def close_database(message: Message) -> None:
    connection.close()
    echo(message)


def fill(message: Message) -> None:
    """Send more to a channel than it holds."""
    for number in range(3):
        Channel("tiny").send({"number": number})
    echo(message)


def babble(message: Message) -> None:
    """Send what cannot be sent."""
    Channel("no such name!!").send({})
    Channel("answers").send({"number": object()})
    echo(message)


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def tracked(message: Message, exception: Exception, duration: float, consumer: Any, **kwargs: Any) -> None:
    """The record that an error tracker would be given."""
    say(f"tracked {type(exception).__name__} of {consumer.__name__} on {message.channel}")


consumer_failed.connect(tracked)

channel_routing = {
    "echo": echo,
    "work": work,
    "work-async": work_async,
    "work-for-group": work_for_group,
    "work-for-recoverable-group": work_for_recoverable_group,
    "query": query,
    "crash": crash,
    "fail": fail,
    "interrupt": interrupt,
    "leave": leave,
    "leak": leak,
    "wait": wait_for_ever,
    "compute": compute_for_ever,
    "fork-and-return": fork_and_return,
    "fork-and-exit": fork_and_exit,
    "fork-a-pool": fork_a_pool,
    "close-database": close_database,
    "fill": fill,
    "babble": babble,
}
