from channels.routing import route

from .consumers import store_message, ws_connect, ws_disconnect, ws_receive

websocket_routing = [
    route("websocket.connect", ws_connect, path=r"^/(?P<label>[\w-]+)/$"),
    route("websocket.receive", ws_receive),
    route("websocket.disconnect", ws_disconnect),
]

custom_routing = [
    route("chat-messages", store_message),
]
