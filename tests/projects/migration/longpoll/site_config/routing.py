import channels
from channels.handler import ViewConsumer

channel_routing = [
    channels.route('http.request', 'polls.consumers.status', path=r'^/status/(?P<name>\w+)$'),
    channels.route('http.request', ViewConsumer()),
    channels.route('websocket.connect', 'polls.consumers.watch_connect', path=r'^/watch'),
    channels.route('websocket.receive', 'polls.consumers.watch_receive', path=r'^/watch'),
    channels.route('websocket.disconnect', 'polls.consumers.watch_disconnect', path=r'^/watch'),
]
