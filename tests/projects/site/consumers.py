"""The consumers of the site."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from channels_classic import Group
from channels_classic.message import Message

logger = logging.getLogger("site")


def room_connect(message: Message) -> None:
    assert message.reply_channel is not None
    Group("room").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def room_disconnect(message: Message) -> None:
    assert message.reply_channel is not None
    Group("room").discard(message.reply_channel)


def counted_disconnect(message: Message) -> None:
    """Report the end of a socket on a channel that the test reads."""
    message.channel_layer.send("disconnects", {"path": message["path"], "code": message["code"]})


def tell_others(message: Message) -> None:
    """Send what one socket said to all others of its room."""
    room = Group("room")
    room.send({"text": json.dumps({"said": message["text"], "count": room.count()})}, but=message.reply_channel)


def echo(message: Message) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"text": message["text"]})


def sleep(message: Message) -> None:
    """Be busy for as many seconds as the frame says."""
    assert message.reply_channel is not None
    message.reply_channel.send({"text": "started"}, immediately=True)
    time.sleep(float(message["text"]))
    message.reply_channel.send({"text": "done"}, immediately=message["path"] == "/sleep/immediately")


def log(message: Message) -> None:
    """Write a log record, and answer with the id that it should have."""
    assert message.reply_channel is not None
    logger.info("said %s", message["text"], extra={"words": len(message["text"].split())})
    message.reply_channel.send({"text": message.request_id})


async def log_async(message: Message) -> None:
    """Do the same in a coroutine."""
    assert message.reply_channel is not None
    logger.info("said %s", message["text"], extra={"words": len(message["text"].split())})
    await message.channel_layer.send_async(message.reply_channel.name, {"text": message.request_id})


async def stream(message: Message) -> None:
    """Send five numbers of a slow source, as many seconds apart as the frame says."""
    assert message.reply_channel is not None
    for number in range(5):
        await asyncio.sleep(float(message["text"]))
        await message.channel_layer.send_async(message.reply_channel.name, {"text": str(number)})


def connect_broken(message: Message) -> None:
    raise RuntimeError("this connect consumer is broken")


def connect_slowly(message: Message) -> None:
    """Accept after a while."""
    assert message.reply_channel is not None
    time.sleep(0.05)
    message.reply_channel.send({"accept": True})


def connect_silent(message: Message) -> None:
    """Neither accept nor close."""


def receive_broken(message: Message) -> None:
    raise RuntimeError("this receive consumer is broken")


def http_broken(message: Message) -> None:
    raise RuntimeError("this request consumer is broken")
