"""A site of Channels 4 whose sockets below `/classic/` are consumed by workers, and the others in its own process.

Runs in an environment that has `channels`; a consumer of new style and the interface server answer side by side.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.projects.site.settings")

from django.core.asgi import get_asgi_application
from django.urls import re_path

django_application = get_asgi_application()

from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

from channels_classic.asgi import channel_layers
from channels_classic.interface_server import InterfaceServer


class Shout(WebsocketConsumer):
    """Answers in capitals."""

    channel_layer_alias = "channels 4"  # both read CHANNEL_LAYERS: its layer needs another name there than ours

    def receive(self, text_data: str = "", bytes_data: Any = None) -> None:
        """A frame came."""
        self.send(text_data=text_data.upper())


classic: Any = InterfaceServer(channel_layers.make_layer("default"))
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter([re_path(r"^shout/$", Shout.as_asgi()), re_path(r"^", classic)]),
        "lifespan": classic,
    }
)
