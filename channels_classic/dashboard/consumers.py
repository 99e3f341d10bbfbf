"""The sockets of the page: each open page asks for the status every few seconds, and its user is looked up each time.

Nothing is sent unasked, so a page gets nothing more once its user has logged out, was deleted or is not staff any more.
Without an open page nothing is read.
"""

from __future__ import annotations

import json
import time

from channels_classic.auth import channel_and_http_session_user
from channels_classic.dashboard.status import current
from channels_classic.dashboard.views import is_staff
from channels_classic.exceptions import DenyConnection
from channels_classic.message import Message
from channels_classic.security.websockets import allowed_hosts_only

INTERVAL = 1.0
"""Seconds for which a process answers with the status that it has read, however many pages ask."""

POLICY = 1008

_last: tuple[float, str] = (-INTERVAL, "")
"""The time at which the status was read, and its text."""


@allowed_hosts_only  # pages that CHANNELS_TRUSTED_ORIGINS lets in need not see this
@channel_and_http_session_user
def connect(message: Message) -> None:
    """Accept staff."""
    if not is_staff(message.user):
        raise DenyConnection
    assert message.reply_channel is not None
    message.reply_channel.send({"accept": True})


@channel_and_http_session_user
def receive(message: Message) -> None:
    """Send the status, whatever the frame holds; close the socket of a user who is not staff any more."""
    assert message.reply_channel is not None
    message.reply_channel.send({"text": _status()} if is_staff(message.user) else {"close": POLICY})


def _status() -> str:
    global _last  # noqa: PLW0603  # of this process
    read_at, text = _last
    if time.monotonic() - read_at >= INTERVAL:
        text = json.dumps(current())
        _last = time.monotonic(), text
    return text
