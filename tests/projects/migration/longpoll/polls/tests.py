# coding: utf-8
from __future__ import unicode_literals

import channels
from channels import Channel, route
from channels.exceptions import DenyConnection
from channels.message import Message
from channels.sessions import session_for_reply_channel
from channels.test import ChannelTestCase, Client, HttpClient, apply_routes
from django.conf import settings
from django.utils.module_loading import import_string

try:
    from unittest import mock
except ImportError:
    import mock

from polls import consumers
from polls.middleware import CountingMiddleware


class HttpTests(ChannelTestCase):

    def request(self, path, method='GET', **content):
        client = Client()
        content.update({'path': path, 'method': method})
        client.send_and_consume('http.request', content)
        return client

    def test_consumer_answers_with_an_encoded_response(self):
        response = self.request('/status/pump', query_string='verbose=1').receive()
        self.assertEqual(response['status'], 200)
        self.assertIn(b'"name": "pump"', response['content'])
        self.assertIn(b'"verbose": "1"', response['content'])
        self.assertFalse(response['more_content'])

    def test_session_is_found_by_its_cookie(self):
        session = import_string(settings.SESSION_ENGINE + '.SessionStore')()
        session['visits'] = 7
        session.save()
        cookie = ('%s=%s' % (settings.SESSION_COOKIE_NAME, session.session_key)).encode('ascii')
        response = self.request('/status/pump', headers=[[b'cookie', cookie]]).receive()
        self.assertIn(b'"visits": 7', response['content'])

    def test_waiting_request_is_answered_by_a_publication(self):
        waiting = self.request('/wait/')
        self.assertIsNone(waiting.receive())
        publisher = self.request('/publish/', 'POST', body='größe'.encode('utf-8'))
        self.assertEqual(publisher.receive()['status'], 204)
        response = waiting.receive()
        self.assertEqual(response['content'].decode('utf-8'), 'news: größe')

    def test_middleware_sees_requests_from_channels(self):
        before = CountingMiddleware.count
        self.request('/wait/')
        self.assertEqual(CountingMiddleware.count, before + 1)

    def test_handler_can_be_patched_by_its_path(self):
        with mock.patch('channels.handler.AsgiHandler.encode_response', return_value=[{'status': 418}]):
            self.assertEqual(self.request('/status/pump').receive(), {'status': 418})


class WatchTests(ChannelTestCase):

    def watch(self):
        client = HttpClient(ordered=True)
        client.send_and_consume('websocket.connect', path='/watch/?room=hall')
        return client

    def test_room_of_the_query_string_is_remembered(self):
        client = self.watch()
        client.send_and_consume('websocket.receive', text='hi', path='/watch/')
        self.assertEqual(client.receive(), {'room': 'hall', 'text': 'hi'})
        self.assertEqual(session_for_reply_channel(client.reply_channel)['room'], 'hall')

    def test_message_that_comes_early_waits(self):
        client = self.watch()
        client.order = 2
        client.send_and_consume('websocket.receive', text='second', path='/watch/')
        self.assertIsNone(client.receive())
        client.order = 1
        client.send_and_consume('websocket.receive', text='first', path='/watch/')
        client.consume('websocket.receive')
        self.assertEqual([client.receive()['text'], client.receive()['text']], ['first', 'second'])

    def test_origin_is_required_where_it_is_guarded(self):
        content = {'reply_channel': 'test-reply!a', 'path': '/watch/', 'order': 0, 'headers': [[b'host', b'x']]}
        message = Message(content, 'websocket.connect', channels.channel_layers[channels.DEFAULT_CHANNEL_LAYER])
        with self.assertRaises(DenyConnection):
            consumers.guarded(message)

    @apply_routes([route('other', lambda message: Channel('done').send({'was': message['was']}))])
    def test_routes_can_be_replaced(self):
        self.assertIsNone(Client().get_consumer_by_channel('http.request'))
        Client().send_and_consume('other', {'was': 1})
        self.assertEqual(self.get_next_message('done', require=True)['was'], 1)

    def test_layers_have_names(self):
        self.assertIn('mirror', channels.asgi.channel_layers)
        self.assertIn('mirror', str(channels.channel_layers['mirror']))
