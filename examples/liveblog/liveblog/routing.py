"""The consumer of each message. HTTP is not listed: Django's views answer it, as ever."""

from __future__ import annotations

from blog.consumers import ws_connect, ws_disconnect
from channels_classic.routing import route

STREAM = r"^/liveblog/(?P<slug>[^/]+)/stream/$"

channel_routing = [
    route("websocket.connect", ws_connect, path=STREAM),
    route("websocket.disconnect", ws_disconnect, path=STREAM),
]
