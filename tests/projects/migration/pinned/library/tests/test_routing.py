from __future__ import unicode_literals

from channels.generic import BaseConsumer
from channels.message import Message
from channels.routing import Router, include, route, route_class
from channels.utils import name_that_thing
from django.test import SimpleTestCase

from library.consumers import first, inner, second


class Classy(BaseConsumer):
    method_mapping = {'test.create': 'create', 'test.read': 'read'}

    def create(self, message, **kwargs):
        self.called = 'create'

    def read(self, message, **kwargs):
        self.called = 'read'


class RoutingTests(SimpleTestCase):
    # Anything will do as a layer here.
    layer = object()

    def matched(self, router, channel, **content):
        return router.match(Message(content, channel, self.layer))

    def assertRoutes(self, router, consumer, channel, kwargs=None, **content):
        match = self.matched(router, channel, **content)
        self.assertIsNotNone(match, 'no match for %s' % channel)
        self.assertIs(match[0], consumer, name_that_thing(match[0]))
        self.assertEqual(match[1], kwargs or {})

    def test_dict(self):
        router = Router({'http.request': first, 'http.disconnect': 'library.consumers.second'})
        self.assertRoutes(router, first, 'http.request', path='/x', extra=1)
        self.assertRoutes(router, second, 'http.disconnect')
        self.assertIsNone(self.matched(router, 'http.other'))

    def test_filters_fall_through(self):
        router = Router([
            route('http.request', first, path='^/chat/$', method='^GET$'),
            route('http.request', second),
        ])
        self.assertRoutes(router, first, 'http.request', path='/chat/', method='GET')
        self.assertRoutes(router, second, 'http.request', path='/chat/', method='POST')
        self.assertRoutes(router, second, 'http.request', path='/chat/')

    def test_include_by_path_without_a_prefix(self):
        router = Router([include('library.routing.inner')])
        self.assertRoutes(router, inner, 'websocket.connect', {'page': '7'}, path='/7')

    def test_include_with_prefixes(self):
        for prefix in ('^/(?P<book>[a-z]+)', '/(?P<book>[a-z]+)'):
            router = Router([include('library.routing.inner', path=prefix)])
            self.assertRoutes(router, inner, 'websocket.connect', {'book': 'emma', 'page': '7'}, path='/emma/7')
            self.assertIsNone(self.matched(router, 'websocket.connect', path='/7'))

    def test_consumer_gets_the_whole_path(self):
        message = Message({'path': '/emma/7'}, 'websocket.connect', self.layer)
        Router([include('library.routing.inner', path='^/emma')]).match(message)
        self.assertEqual(message['path'], '/emma/7')

    def test_class_routes(self):
        router = Router([route_class(Classy, path='^/foo$')])
        self.assertRoutes(router, Classy, 'test.create', path='/foo')
        self.assertRoutes(router, Classy, 'test.read', path='/foo')
        self.assertIsNone(self.matched(router, 'test.read', path='/bar'))
        self.assertIsNone(self.matched(router, 'test.wrong', path='/foo'))

    def test_positional_groups_are_refused(self):
        with self.assertRaises(ValueError):
            route('http.request', first, path=r'^/(\d+)$')

    def test_bytes_and_text_mix(self):
        router = Router([route('http.request', first, path=br'^/(?P<a>\w+)$')])
        self.assertRoutes(router, first, 'http.request', {'a': 'x'}, path='/x')
        router = Router([route('http.request', first, path=r'^/(?P<a>\w+)$')])
        self.assertRoutes(router, first, 'http.request', {'a': 'x'}, path=b'/x')

    def test_channels_are_those_of_all_routes(self):
        router = Router([route('one', first), include([route('two', first)]), route_class(Classy)])
        self.assertEqual(set(router.channels), {'one', 'two', 'test.create', 'test.read'})
        router.add_route(route('three', first))
        self.assertIn('three', router.channels)

    def test_defaults_come_last(self):
        router = Router([route('websocket.connect', first)])
        router.check_default(http_consumer=second)
        self.assertRoutes(router, first, 'websocket.connect', path='/')
        self.assertRoutes(router, second, 'http.request', path='/')
        self.assertLessEqual({'websocket.receive', 'websocket.disconnect'}, set(router.channels))
        self.assertIs(Router([]).root.routing.__class__, list)
