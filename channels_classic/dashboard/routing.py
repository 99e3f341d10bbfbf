"""The routes of the page's sockets, to include in the routing of a project below the path of the page."""

from __future__ import annotations

from channels_classic.dashboard import consumers
from channels_classic.routing import route

PATH = r"^/live$"

channel_routing = [
    route("websocket.connect", consumers.connect, path=PATH),
    route("websocket.receive", consumers.receive, path=PATH),
]
