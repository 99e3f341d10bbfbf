"""The consumers of channels_classic in a site with both libraries."""

from __future__ import annotations

from asgiref.sync import async_to_sync

from channels_classic import route
from channels_classic.message import Message
from tests.projects.site import consumers


def to_modern(message: Message) -> None:
    """Send the frame to a group of Channels 4."""
    from channels.layers import get_channel_layer

    async_to_sync(get_channel_layer().group_send)("modern", {"type": "chat.message", "text": message["text"]})


channel_routing = [
    route("websocket.connect", consumers.room_connect, path=r"^/room"),
    route("websocket.receive", to_modern, path=r"^/room/to-modern"),
    route("websocket.receive", consumers.echo),
]
