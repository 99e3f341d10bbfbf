from __future__ import unicode_literals

from channels import route
from channels.binding.base import CREATE, DELETE, UPDATE, BindingMetaclass
from channels.binding.websockets import WebsocketBinding
from channels.generic.websockets import WebsocketDemultiplexer
from channels.test import ChannelTestCase, WSClient, apply_routes
from django.contrib.auth.models import User

from library.models import Book


class UserBinding(WebsocketBinding):
    model = User
    stream = 'users'
    fields = ['username', 'email', 'password']

    @classmethod
    def group_names(cls, instance):
        return ['users']

    def has_permission(self, user, action, pk):
        return True


class BookBinding(WebsocketBinding):
    model = Book
    stream = 'books'
    exclude = ['name']

    @classmethod
    def group_names(cls, instance):
        return ['books']

    def has_permission(self, user, action, pk):
        return True


class Demultiplexer(WebsocketDemultiplexer):
    consumers = {'users': UserBinding.consumer}
    groups = ['inbound']


class BindingTests(ChannelTestCase):

    def setUp(self):
        self.binding_classes = list(BindingMetaclass.binding_classes)

    def tearDown(self):
        BindingMetaclass.binding_classes = self.binding_classes

    def client_of(self, group):
        client = WSClient()
        client.join_group(group)
        return client

    def test_create_is_sent(self):
        client = self.client_of('users')
        user = User.objects.create(username='test', email='test@test.com')
        payload = client.receive()['payload']
        self.assertEqual((payload['action'], payload['model'], payload['pk']), (CREATE, 'auth.user', user.pk))
        self.assertEqual(payload['data'], {'username': 'test', 'email': 'test@test.com', 'password': ''})
        self.assertIsNone(client.receive())

    def test_update_and_delete_are_sent(self):
        user = User.objects.create(username='test', email='test@test.com')
        pk = user.pk
        client = self.client_of('users')
        user.username = 'test_new'
        user.save()
        payload = client.receive()['payload']
        self.assertEqual((payload['action'], payload['data']['username']), (UPDATE, 'test_new'))
        user.delete()
        payload = client.receive()['payload']
        self.assertEqual((payload['action'], payload['pk']), (DELETE, pk))
        self.assertEqual(payload['data']['username'], 'test_new')

    def test_uuid_and_exclude(self):
        with apply_routes([route('test', BookBinding.consumer)]):
            client = self.client_of('books')
            book = Book.objects.create(name='Emma')
            payload = client.receive()['payload']
        self.assertEqual((payload['pk'], payload['data']), (str(book.pk), {}))

    def test_fields_or_exclude_is_required(self):
        with self.assertRaises(ValueError):
            class Incomplete(WebsocketBinding):
                model = User
                stream = 'incomplete'

                @classmethod
                def group_names(cls, instance):
                    return ['x']

    def inbound(self, **payload):
        with apply_routes([Demultiplexer.as_route(path='/')]):
            client = WSClient()
            client.send_and_consume('websocket.connect', path='/')
            client.send_and_consume('websocket.receive', text={'stream': 'users', 'payload': payload}, path='/')
            self.assertIsNone(client.receive())
            client.send_and_consume('websocket.disconnect', path='/')
            self.assertIsNone(client.receive())

    def test_inbound_create(self):
        self.inbound(action='create', data={'username': 'test_inbound', 'email': 'test@example.com', 'password': '!'})
        self.assertEqual(User.objects.get().username, 'test_inbound')

    def test_inbound_update_of_the_listed_fields(self):
        user = User.objects.create(username='test', email='test@test.com', last_name='kept')
        self.inbound(action='update', pk=user.pk, data={'username': 'test_inbound', 'last_name': 'stolen'})
        user.refresh_from_db()
        self.assertEqual((user.username, user.last_name), ('test_inbound', 'kept'))

    def test_inbound_delete(self):
        user = User.objects.create(username='test')
        self.inbound(action='delete', pk=user.pk)
        self.assertFalse(User.objects.exists())

    def test_captured_values_are_on_the_demultiplexer(self):
        with apply_routes([Demultiplexer.as_route(path='/path/(?P<id>\\d+)')]):
            consumer = WSClient().send_and_consume('websocket.connect', path='/path/789')
        self.assertEqual(consumer.kwargs['id'], '789')
