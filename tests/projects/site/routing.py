"""The consumer of each message."""

from __future__ import annotations

from channels_classic import route
from tests.projects.site import consumers

channel_routing = [
    route("http.request", consumers.http_broken, path=r"^/broken-consumer$"),
    route("websocket.connect", consumers.room_connect, path=r"^/room"),
    route("websocket.disconnect", consumers.room_disconnect, path=r"^/room"),
    route("websocket.connect", consumers.room_connect, path=r"^/counted"),
    route("websocket.disconnect", consumers.counted_disconnect, path=r"^/counted"),
    route("websocket.connect", consumers.connect_broken, path=r"^/connect-broken"),
    route("websocket.connect", consumers.connect_slowly, path=r"^/connect-slowly"),
    route("websocket.connect", consumers.connect_silent, path=r"^/connect-silent"),
    route("websocket.receive", consumers.receive_broken, path=r"^/receive-broken"),
    route("websocket.receive", consumers.stream, path=r"^/room/stream"),
    route("websocket.receive", consumers.tell_others, path=r"^/room/others"),
    route("websocket.receive", consumers.log, path=r"^/room/log$"),
    route("websocket.receive", consumers.log_async, path=r"^/room/log-async$"),
    route("websocket.receive", consumers.sleep, path=r"^/sleep"),
    route("websocket.receive", consumers.echo),
]
