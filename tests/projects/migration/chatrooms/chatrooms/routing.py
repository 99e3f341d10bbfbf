from channels import include

# Nested: the prefix of each level is cut off for the next.
channel_routing = [
    include("chat.routing.websocket_routing", path=r"^/ws"),
    include("chat.routing.custom_routing"),
]
