from channels import include, route

chat_routing = [
    route("websocket.connect", "chat.consumers.ws_connect", path=r"^/stream/$"),
    route("websocket.receive", "chat.consumers.ws_receive", path=r"^/stream/$"),
    route("websocket.disconnect", "chat.consumers.ws_disconnect", path=r"^/stream/$"),
]

websocket_routing = [
    include(chat_routing, path=r"^/chat"),
]

custom_routing = [
    route("chat.receive", "chat.consumers.chat_join", command="^join$"),
    route("chat.receive", "chat.consumers.chat_send", command="^send$"),
]
