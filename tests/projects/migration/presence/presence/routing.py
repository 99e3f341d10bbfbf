from channels.routing import include, route, route_class

from people.consumers import Audit, Presence

people = [
    Presence.as_route(path=r'^/(?P<name>[a-z]+)/$'),
]

channel_routing = [
    include(people, path=r'^/people'),
    route_class(Audit, level='high'),
    route('audit', lambda message: None),
]
