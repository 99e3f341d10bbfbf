from __future__ import unicode_literals

import json

from channels import route_class
from channels.exceptions import SendNotAvailableOnDemultiplexer
from channels.generic import BaseConsumer, websockets
from channels.test import ChannelTestCase, Client, WSClient, apply_routes
from django.contrib.auth.models import User
from django.test import override_settings


@override_settings(SESSION_ENGINE='django.contrib.sessions.backends.cache')
class GenericTests(ChannelTestCase):

    def test_base_consumer(self):
        class Consumer(BaseConsumer):
            method_mapping = {'test.create': 'create', 'test.test': 'test'}

            def create(self, message, **kwargs):
                self.called = 'create'

            def test(self, message, **kwargs):
                self.called = 'test'

        with apply_routes([route_class(Consumer)]):
            client = Client()
            self.assertEqual(client.send_and_consume('test.create').called, 'create')
            self.assertEqual(client.send_and_consume('test.test').called, 'test')
            for name in ('test.wrong', 'test'):
                self.assertIsNone(client.get_consumer_by_channel(name))

    def test_websocket_consumer_gets_what_the_path_captures(self):
        called = []

        class Consumer(websockets.WebsocketConsumer):
            def connect(self, message, **kwargs):
                called.append(('connect', kwargs))

            def disconnect(self, message, **kwargs):
                called.append(('disconnect', kwargs))

            def receive(self, text=None, bytes=None, **kwargs):
                called.append((text, kwargs))

        with apply_routes([route_class(Consumer, path='/path/(?P<id>\\d+)')]):
            client = Client()
            for channel in ('connect', 'receive', 'disconnect'):
                client.send_and_consume('websocket.' + channel, {'path': '/path/1', 'text': 'text'})
        self.assertEqual(called, [(name, {'id': '1'}) for name in ('connect', 'text', 'disconnect')])

    def test_as_route(self):
        class Consumer(BaseConsumer):
            trigger = 'old'

            def test(self, message, **kwargs):
                self.seen = self.trigger

        attrs = {'method_mapping': {'mychannel': 'test'}, 'trigger': 'new'}
        with apply_routes([Consumer.as_route(attrs, name='filter')]):
            self.assertEqual(Client().send_and_consume('mychannel', {'name': 'filter'}).seen, 'new')
        self.assertIs(websockets.WebsocketConsumer.as_route(path='^/$').consumer, websockets.WebsocketConsumer)
        changed = websockets.WebsocketConsumer.as_route(attrs={'strict_ordering': True}, path='^/$')
        self.assertIsNot(changed.consumer, websockets.WebsocketConsumer)

    def test_ordering_is_enforced(self):
        class Consumer(websockets.WebsocketConsumer):
            strict_ordering = True

            def connect(self, message, **kwargs):
                message.channel_session['order'] = int(message['order'])
                message.reply_channel.send({'text': str(message['order'])})

        with apply_routes([route_class(Consumer)]):
            client = Client()
            for order in (1, 0):
                client.send('websocket.connect', {'path': '/', 'order': order})
            for _ in range(3):
                client.consume('websocket.connect')
            self.assertEqual([client.receive()['text'], client.receive()['text']], ['0', '1'])

    def test_the_session_of_the_browser_is_there_for_all_messages(self):
        class Consumer(websockets.WebsocketConsumer):
            http_user_and_session = True

        user = User.objects.create_user(username='test', email='t@example.com', password='123456')
        client = WSClient()
        client.force_login(user)
        with apply_routes([route_class(Consumer, path='/path')]):
            keys = set()
            for name, content in (('connect', {}), ('receive', {'text': 'x'}), ('disconnect', {})):
                consumer = client.send_and_consume('websocket.' + name, content, path='/path')
                keys.add(consumer.message.http_session.session_key)
                self.assertEqual(consumer.message.user, user)
        self.assertEqual(keys, {client.session.session_key})

    def test_values_that_are_not_text_come_as_they_are(self):
        class Consumer(websockets.WebsocketConsumer):
            def connect(self, message, **kwargs):
                self.message.reply_channel.send({'accept': True})
                self.send(text=message.get('order'))

            def receive(self, text=None, bytes=None, **kwargs):
                self.send(text=text)

        with apply_routes([route_class(Consumer, path='/path')]):
            client = WSClient()
            client.send_and_consume('websocket.connect', {'path': '/path', 'order': 1})
            self.assertEqual(client.receive(json=False), 1)
            client.send_and_consume('websocket.receive', text='next', path='/path')
            self.assertEqual(client.receive(json=False), 'next')

    def test_demultiplexer(self):
        class Stream(websockets.JsonWebsocketConsumer):
            def connect(self, message, multiplexer=None, **kwargs):
                multiplexer.send(kwargs)

            def disconnect(self, message, multiplexer=None, **kwargs):
                multiplexer.send(kwargs)

            def receive(self, content, multiplexer=None, **kwargs):
                multiplexer.send(content)

        class Talkative(websockets.JsonWebsocketConsumer):
            def receive(self, content, multiplexer=None, **kwargs):
                self.send(content)

        class Demultiplexer(websockets.WebsocketDemultiplexer):
            consumers = {'mystream': Stream, 'talkative': Talkative}

        with apply_routes([route_class(Demultiplexer, path='/path/(?P<id>\\d+)')]):
            client = WSClient()
            client.send_and_consume('websocket.connect', path='/path/1')
            self.assertEqual(client.receive(), {'stream': 'mystream', 'payload': {'id': '1'}})
            client.receive()
            frame = {'stream': 'mystream', 'payload': {'text_field': 'mytext'}}
            client.send_and_consume('websocket.receive', text=frame, path='/path/1')
            self.assertEqual(client.receive(), frame)
            with self.assertRaises(SendNotAvailableOnDemultiplexer):
                client.send_and_consume('websocket.receive', text=dict(frame, stream='talkative'), path='/path/1')
            client.send_and_consume('websocket.disconnect', path='/path/1')
            self.assertEqual(client.receive(), {'stream': 'mystream', 'payload': {'id': '1'}})

    def test_json_of_the_project(self):
        class Consumer(websockets.JsonWebsocketConsumer):
            @classmethod
            def decode_json(cls, text):
                return dict(json.loads(text), decode=True)

            @classmethod
            def encode_json(cls, content):
                return json.dumps(dict(content, encode=True))

            def receive(self, content, multiplexer=None, **kwargs):
                self.send(content)

        with apply_routes([route_class(Consumer, path='/')]):
            client = WSClient()
            client.send_and_consume('websocket.receive', text={'key': 1})
            self.assertEqual(client.receive(), {'key': 1, 'decode': True, 'encode': True})
            client.join_group('test')
            Consumer.group_send('test', {'key': 2})
            self.assertEqual(client.receive(), {'key': 2, 'encode': True})
