from channels import include, route_class
from chat.consumers import Demultiplexer

channel_routing = [
    include("chat.routing.websocket_routing", path=r"^/chat"),
    include("chat.routing.custom_routing"),
    route_class(Demultiplexer, path=r"^/rooms/$"),
]
