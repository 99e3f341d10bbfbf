"""The same consumers for Channels 4, written as its documentation does, and the site as its ASGI application."""

from __future__ import annotations

from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

from benchmarks.project.counting import count_disconnect


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data)


class CountingEcho(SyncEcho):
    def disconnect(self, code: int) -> None:
        count_disconnect(self.scope["path"])


class Room(AsyncWebsocketConsumer):
    groups = ("room",)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send("room", {"type": "say", "text": text_data})

    async def say(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


routes = URLRouter(
    [
        re_path(r"^room$", Room.as_asgi()),
        re_path(r"^sync/echo$", SyncEcho.as_asgi()),
        re_path(r"^echo$", Echo.as_asgi()),
        re_path(r"^storm/\d+$", CountingEcho.as_asgi()),
    ]
)
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": routes})
