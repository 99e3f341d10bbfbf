from channels.routing import route_class

from items.consumers import Demultiplexer

channel_routing = [
    route_class(Demultiplexer, path=r'^/binding/(?P<board>\w+)/$'),
]
