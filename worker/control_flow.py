"""Handles the exceptions by which a consumer denies a connection, runs an action, or asks for its message again."""

from __future__ import annotations

import logging
import time
from typing import Any

from channels_classic.exceptions import (
    ChannelSocketException,
    ConsumeLater,
    DenyConnection,
    LayerUnavailable,
    StepRefused,
)
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing
from channels_classic.message import Message

from .context import Context
from .result import ConsumerResult

logger = logging.getLogger("django.channels")

CONTROL_EXCEPTIONS = (DenyConnection, ChannelSocketException, ConsumeLater)

REQUEUE_ATTEMPTS = 10
REQUEUE_PAUSE = 0.05
"""Seconds between attempts to put a message back on a full channel, as in Channels 1.1.8."""

_SHOWN_KEYS = ("reply_channel", "path")
"""Keys whose values the log shows."""

_SHOWN = 200
"""Characters of a dropped message in the log."""


def handle(
    error: Exception, message: Message, result: ConsumerResult, context: Context, may_wait: bool = True
) -> Outcome | None:
    """Handle one of `CONTROL_EXCEPTIONS`; return the outcome, or None when the message was put back.

    Messages it sends are held with those of the consumer. With `may_wait` it may block while a channel is full.
    """
    if isinstance(error, DenyConnection):
        return _deny(message)
    if isinstance(error, ChannelSocketException):
        error.run(message)
        return Outcome.CONSUMED
    return _put_back(message, result, context, may_wait)


def _deny(message: Message) -> Outcome:
    if message.channel.name != "websocket.connect" or message.reply_channel is None:
        raise ValueError(
            f"DenyConnection was raised for a message of {message.channel.name!r}: only consumers of "
            "websocket.connect can deny a connection. Elsewhere raise WebsocketCloseException."
        )
    message.reply_channel.send({"close": True})
    return Outcome.CONSUMED


def _put_back(message: Message, result: ConsumerResult, context: Context, may_wait: bool) -> Outcome | None:
    """Put a message back at the tail of its channel, unless that happened too often.

    The same dict the consumer saw is sent, with the changes the consumer made. It overtakes what the consumer sent.
    """
    channel, content = result.delivery.channel, message.content
    retries = content.get("__retries__", 0) + 1
    content["__retries__"] = retries
    if retries > context.message_retries:
        context.layer.losses.count("retries", channel)
        logger.warning("Dropped a message of %s: it was put back %d times. %s", channel, retries - 1, shown(content))
        return Outcome.DROPPED
    if result.delivery.token is not None or not may_wait:
        result.sends.append(Outgoing(channel, content, token=result.delivery.token))
        return None
    for _ in range(REQUEUE_ATTEMPTS):
        try:
            context.wrapper.send(channel, content)
            return None
        except context.wrapper.ChannelFull:
            time.sleep(REQUEUE_PAUSE)
        except (LayerUnavailable, StepRefused) as error:
            if getattr(error, "written", False):
                context.layer.losses.count("broker", channel)
                raise
            # It is certainly still here: it goes out with what the consumer sent, which waits for the layer.
            result.sends.append(Outgoing(channel, content))
            return None
    logger.warning("Dropped a message of %s: its channel stayed full. %s", channel, shown(content))
    context.layer.losses.count("full", channel)
    return Outcome.DROPPED


def shown(message: dict[str, Any]) -> str:
    """Return a description of a message for the log, without its content, which may be a password or a cookie."""
    values = [f"{key}={message[key]!r}" for key in _SHOWN_KEYS if key in message]
    text = ", ".join([*values, f"keys: {', '.join(map(repr, message))}"])
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
