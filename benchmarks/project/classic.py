"""The consumers as this project runs them: in a worker."""

from __future__ import annotations

import time

from benchmarks.project.counting import count_disconnect
from benchmarks.project.feed import FEED, KEPT
from benchmarks.project.work import compute
from channels_classic import Group, route
from channels_classic.message import Message


def echo(message: Message) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"text": message["text"]})


def wait(message: Message) -> None:
    """Wait for something else, such as another service."""
    time.sleep(0.01)
    assert message.reply_channel is not None
    message.reply_channel.send({"text": message["text"]})


def calculate(message: Message) -> None:
    """Keep a processor busy."""
    compute()
    assert message.reply_channel is not None
    message.reply_channel.send({"text": message["text"]})


def join(message: Message) -> None:
    assert message.reply_channel is not None
    Group("room").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def leave(message: Message) -> None:
    assert message.reply_channel is not None
    Group("room").discard(message.reply_channel)


def say(message: Message) -> None:
    Group("room").send({"text": message["text"]})


def follow(message: Message) -> None:
    """Join the recoverable group, with what the client missed of it."""
    assert message.reply_channel is not None
    message.reply_channel.send({"accept": True})
    Group(FEED, **KEPT).add(message.reply_channel, after=message.get("cursors", {}).get(FEED))


def count(message: Message) -> None:
    count_disconnect(message["path"])


channel_routing = [
    route("websocket.connect", follow, path=r"^/(?:feed|storm/\d+)$"),
    route("websocket.connect", join, path=r"^/room$"),
    route("websocket.disconnect", leave, path=r"^/room$"),
    route("websocket.disconnect", count, path=r"^/storm/\d+$"),
    route("websocket.receive", say, path=r"^/room$"),
    route("websocket.receive", wait, path=r"^/wait$"),
    route("websocket.receive", calculate, path=r"^/calculate$"),
    route("websocket.receive", echo),
]
