from __future__ import unicode_literals

from channels import route
from channels.exceptions import ChannelSocketException, WebsocketCloseException
from channels.handler import AsgiRequest
from channels.sessions import enforce_ordering
from channels.test import ChannelTestCase, WSClient, apply_routes
from django.http.cookie import parse_cookie


class Raised(ChannelSocketException):

    def run(self, message):
        message.reply_channel.send({'text': 'raised'})


class ClientTests(ChannelTestCase):

    def test_cookies(self):
        client = WSClient()
        client.set_cookie('foo', 'not-bar')
        client.set_cookie('foo', 'bar')
        client.set_cookie('qux', 'qu;x')
        cookies = parse_cookie(client.headers['cookie'].decode('ascii'))
        self.assertEqual((cookies['foo'], cookies['qux']), ('bar', 'qu;x'))
        self.assertIn('sessionid', cookies)
        self.assertEqual(client.get_cookies(), cookies)

    def test_contents(self):
        client = WSClient()
        content = client._get_content(text={'hey': True}, path='/my/path')
        self.assertEqual((content['text'], content['path']), ('{"hey": true}', '/my/path'))
        self.assertTrue(content['headers'])
        content = client._get_content(content={'path': '/a'}, path='/b')
        self.assertEqual(content['path'], '/a')

    def test_order(self):
        client = WSClient(ordered=True)
        self.assertEqual([client._get_content()['order'] for _ in range(2)], [0, 1])
        client.order = 7
        self.assertEqual(client._get_content()['order'], 7)
        with self.assertRaises(ValueError):
            client._get_content({'order': 2})

    def test_ordered_client(self):
        @enforce_ordering
        def consumer(message):
            message.reply_channel.send({'text': message['text']})

        client = WSClient(ordered=True)
        with apply_routes(route('websocket.receive', consumer)):
            for text in ('1', '2', '3'):
                client.send_and_consume('websocket.receive', text=text)
                self.assertEqual(client.receive(), int(text))

    def test_query_string_is_there_when_a_socket_connects(self):
        seen = []

        def consumer(message):
            seen.append(AsgiRequest(message).GET.getlist('a'))
            message.reply_channel.send({'accept': True})

        client = WSClient()
        routes = [route('websocket.connect', consumer, path='^/x/$'), route('websocket.receive', consumer, path='^/x/$')]
        with apply_routes(routes):
            client.send_and_consume('websocket.connect', {'method': 'FAKE'}, path='/x/?a=1&a=2')
            client.send_and_consume('websocket.receive', {'method': 'FAKE'}, text='x', path='/x/?a=1')
        self.assertEqual(seen, [['1', '2'], []])

    def raised(self, error):
        def consumer(message):
            raise error

        client = WSClient()
        with apply_routes(route('websocket.receive', consumer)):
            client.send_and_consume('websocket.receive', text='x')
        return client.receive(json=False)

    def test_exceptions_that_answer(self):
        self.assertEqual(self.raised(Raised()), 'raised')
        self.assertEqual(self.raised(WebsocketCloseException), {'close': True})
        self.assertEqual(self.raised(WebsocketCloseException(3001)), {'close': 3001})

    def test_close_codes_are_checked(self):
        for code in (2000, 'code'):
            with self.assertRaises(ValueError):
                WebsocketCloseException(code)
