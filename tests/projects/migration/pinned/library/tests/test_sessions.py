from __future__ import unicode_literals

from channels import channel_layers
from channels.exceptions import DenyConnection
from channels.message import Message
from channels.security.websockets import allowed_hosts_only
from channels.sessions import (
    channel_and_http_session, channel_session, enforce_ordering, http_session, session_for_reply_channel,
)
from channels.test import ChannelTestCase
from django.conf import settings
from django.core.cache import cache
from django.test import override_settings

try:
    from unittest import mock
except ImportError:
    import mock


@override_settings(SESSION_ENGINE='django.contrib.sessions.backends.cache')
class SessionTests(ChannelTestCase):

    def setUp(self):
        cache.clear()

    def message(self, **content):
        return Message(content, None, None)

    def test_session_is_found_by_the_reply_channel(self):
        session = session_for_reply_channel('test-reply-channel')
        session['foo'] = 'bar'
        session.save(must_create=True)
        self.assertEqual(session_for_reply_channel('test-reply-channel')['foo'], 'bar')

    def test_function(self):
        @channel_session
        def consumer(message):
            message.channel_session['num_ponies'] = -1

        consumer(self.message(reply_channel='test-reply'))
        self.assertEqual(session_for_reply_channel('test-reply')['num_ponies'], -1)

    def test_method_decorated_twice(self):
        class Consumer(object):
            @channel_session
            @channel_session
            def method(self, message):
                message.channel_session['num_ponies'] = -1

        Consumer().method(self.message(reply_channel='test-reply'))
        self.assertEqual(session_for_reply_channel('test-reply')['num_ponies'], -1)

    def test_message_as_third_argument(self):
        @channel_session
        def consumer(a, b, message):
            pass

        with self.assertRaisesMessage(ValueError, 'channel_session called without Message instance'):
            consumer('a', 'b', self.message(reply_channel='test-reply'))

    def test_no_reply_channel(self):
        @channel_session
        def consumer(message):
            pass

        with self.assertRaises(ValueError):
            consumer(self.message())

    def http_message(self, session, **content):
        cookie = ('%s=%s' % (settings.SESSION_COOKIE_NAME, session.session_key)).encode('ascii')
        headers = {'host': b'example.com', 'cookie': cookie}
        return self.message(reply_channel='test-reply', method='GET', path='/', headers=headers, **content)

    def test_http_session(self):
        @http_session
        @http_session
        def consumer(message):
            message.http_session['species'] = 'horse'

        session = session_for_reply_channel('test-reply')
        session.save(must_create=True)
        consumer(self.http_message(session))
        self.assertEqual(session_for_reply_channel('test-reply')['species'], 'horse')

    def test_http_session_comes_back_for_later_messages(self):
        keys = []

        @channel_and_http_session
        def consumer(message):
            keys.append(message.http_session.session_key)

        session = session_for_reply_channel('browser')
        session.save(must_create=True)
        consumer(self.http_message(session))
        consumer(self.message(reply_channel='test-reply', path='/'))
        self.assertEqual(keys, [session.session_key] * 2)
        self.assertEqual(session_for_reply_channel('test-reply')[settings.SESSION_COOKIE_NAME], session.session_key)


@override_settings(SESSION_ENGINE='django.contrib.sessions.backends.cache')
class OrderingTests(ChannelTestCase):

    def setUp(self):
        cache.clear()

    def consume(self, *orders):
        @enforce_ordering
        def consumer(message):
            message.channel_session['num_ponies'] = message.channel_session.get('num_ponies', 0) + 1

        for order in orders:
            content = {'reply_channel': 'test-reply!b'}
            if order is not None:
                content['order'] = order
            consumer(Message(content, 'websocket.receive', channel_layers['default']))

    def waiting(self):
        return self.get_next_message('__wait__.test-reply?b')

    def test_in_order(self):
        self.consume(0, 1)
        self.assertEqual(session_for_reply_channel('test-reply!b')['num_ponies'], 2)
        self.assertIsNone(self.waiting())

    def test_gap_waits(self):
        self.consume(0, 2)
        self.assertEqual(session_for_reply_channel('test-reply!b')['num_ponies'], 1)
        self.assertEqual(self.waiting().content['original_channel'], 'websocket.receive')

    def test_missing_order(self):
        with self.assertRaises(ValueError):
            self.consume(None)

    def test_waiting_messages_return_when_another_worker_went_on(self):
        self.consume(0, 3)
        store = type(session_for_reply_channel('x'))
        with mock.patch.object(store, 'load', return_value={'__channels_next_order': 2}):
            self.consume(2)
        self.assertIsNone(self.waiting())


@override_settings(ALLOWED_HOSTS=['example.com'])
class OriginTests(ChannelTestCase):

    def call(self, *headers):
        @allowed_hosts_only
        def consumer(message):
            return True

        return consumer(Message({'reply_channel': 'r', 'headers': list(headers)}, 'websocket.connect', None))

    def test_allowed(self):
        self.assertTrue(self.call([b'origin', b'http://example.com']))

    def test_foreign(self):
        with self.assertRaises(DenyConnection):
            self.call([b'origin', b'http://example.org'])

    def test_missing_empty_and_broken(self):
        for header in ([], [b'origin', b''], [b'origin', b'\xc3\xa4']):
            with self.assertRaises(DenyConnection):
                self.call(header)
