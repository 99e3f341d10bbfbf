"""A site of Channels 4 whose sockets below `/room` are consumed by workers, and the others in its own process.

Runs in an environment that has `channels`: consumers of both libraries, and the layers of both, side by side.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.hosting.channels_4_settings")

from django.core.asgi import get_asgi_application
from django.urls import re_path

django_application = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

from channels_classic import Group
from channels_classic.asgi import channel_layers, get_channel_layer
from channels_classic.interface_server import InterfaceServer


class Shout(WebsocketConsumer):
    """Answers in capitals."""

    def receive(self, text_data: str = "", bytes_data: Any = None) -> None:
        """A frame came."""
        self.send(text_data=text_data.upper())


class Chat(AsyncWebsocketConsumer):
    """Sends each frame to a group of Channels 4, and one that begins with "classic " to a group of ours."""

    async def connect(self) -> None:
        """Join the group."""
        await self.channel_layer.group_add("modern", self.channel_name)
        await self.accept()

    async def receive(self, text_data: str = "", bytes_data: Any = None) -> None:
        """Send the frame on."""
        if text_data.startswith("classic "):
            await channel_layers["default"].send_group_async("room", {"text": text_data})
        elif text_data.startswith("at once "):
            Group("room").send({"text": text_data})  # the process that hosts the layer must not wait for itself
        else:
            await self.channel_layer.group_send("modern", {"type": "chat.message", "text": text_data})

    async def chat_message(self, event: dict[str, str]) -> None:
        """Send what came through the group to the client."""
        await self.send(text_data=f"modern {event['text']}")


own = [re_path(r"^shout/$", Shout.as_asgi()), re_path(r"^chat/$", Chat.as_asgi())]
classic: Any = InterfaceServer(get_channel_layer())
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter([*own, re_path(r"^", classic)]),
        "lifespan": classic,
    }
)
channels_alone = ProtocolTypeRouter({"http": django_application, "websocket": URLRouter(own)})
