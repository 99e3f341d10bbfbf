"""The sockets of the page: each open page asks for the status now and then, and all open pages get the answer.

So with several pages open each of them asks seldom, and without an open page nothing is read.
"""

from __future__ import annotations

import json
import time

from channels_classic.auth import channel_and_http_session_user
from channels_classic.channel import Group
from channels_classic.dashboard.status import current
from channels_classic.dashboard.views import is_staff
from channels_classic.exceptions import DenyConnection
from channels_classic.message import Message

VIEWERS = "channels-dashboard"
"""The group of all pages."""

INTERVAL = 1.0
"""Seconds between two readings at least, whatever pages ask for."""

POLICY = 1008

_last_reading = -INTERVAL


@channel_and_http_session_user
def connect(message: Message) -> None:
    """Accept staff. Pages of other origins are refused before, see `channels_classic.security`."""
    if not is_staff(message.user):
        raise DenyConnection
    assert message.reply_channel is not None
    message.reply_channel.send({"accept": True})
    Group(VIEWERS).add(message.reply_channel)


@channel_and_http_session_user
def receive(message: Message) -> None:
    """Send the status to all pages, unless that was done a moment ago; the content of the frame does not matter."""
    global _last_reading  # noqa: PLW0603  # of this process
    assert message.reply_channel is not None
    if not is_staff(message.user):  # no longer
        message.reply_channel.send({"close": POLICY})
        return
    if time.monotonic() - _last_reading >= INTERVAL:
        _last_reading = time.monotonic()
        Group(VIEWERS).send({"text": json.dumps(current())})


@channel_and_http_session_user
def disconnect(message: Message) -> None:
    """Leave the group."""
    assert message.reply_channel is not None
    Group(VIEWERS).discard(message.reply_channel)
