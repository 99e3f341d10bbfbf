"""The routing of the site: the dashboard, an echo, and a channel for slow work."""

from __future__ import annotations

import time

from channels_classic import include, route
from channels_classic.message import Message


def accept(message: Message) -> None:
    assert message.reply_channel is not None
    message.reply_channel.send({"accept": True})


def work(message: Message) -> None:
    time.sleep(float(message["seconds"]))


channel_routing = [
    include("channels_classic.dashboard.routing.channel_routing", path=r"^/channels"),
    route("websocket.connect", accept, path=r"^/echo$"),
    route("slow.work", work),
]
