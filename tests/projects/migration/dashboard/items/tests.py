import json

from channels.test import ChannelTestCase, HttpClient
from django.contrib.auth.models import User

from .models import Item


class BoardTests(ChannelTestCase):

    def connect(self, login=True):
        client = HttpClient()
        if login:
            User.objects.create_user(username='alice', password='secret')
            self.assertTrue(client.login(username='alice', password='secret'))
        client.send_and_consume('websocket.connect', path='/binding/main/')
        self.assertEqual(client.receive(), {'stream': 'echo', 'payload': {'hello': 'main'}})
        return client

    def send(self, client, stream, payload):
        text = {'stream': stream, 'payload': payload}
        client.send_and_consume('websocket.receive', text=text, path='/binding/main/')

    def test_created_item_is_sent_to_its_board(self):
        client = self.connect()
        item = Item.objects.create(board='main', name='one', value=21, secret='hidden')
        received = client.receive()
        self.assertEqual(received['stream'], 'items')
        self.assertEqual(received['payload'], {
            'action': 'create',
            'pk': str(item.pk),
            'model': 'items.item',
            'data': {'board': 'main', 'name': 'one', 'value': 21, 'doubled': 42},
        })
        Item.objects.create(board='other', name='two')
        self.assertIsNone(client.receive())

    def test_deleted_item_is_sent(self):
        item = Item.objects.create(board='main', name='one')
        client = self.connect()
        item.delete()
        self.assertEqual(client.receive()['payload']['action'], 'delete')

    def test_client_updates_an_item(self):
        item = Item.objects.create(board='main', name='one', secret='kept')
        client = self.connect()
        self.send(client, 'items', {'action': 'update', 'pk': str(item.pk), 'data': {'value': 5, 'secret': 'stolen'}})
        item.refresh_from_db()
        self.assertEqual((item.value, item.secret), (5, 'kept'))
        self.assertEqual(client.receive()['payload']['data']['value'], 5)

    def test_client_creates_an_item(self):
        client = self.connect()
        self.send(client, 'items', {'action': 'create', 'data': {'board': 'main', 'name': 'new', 'value': 1}})
        self.assertEqual(Item.objects.get().name, 'new')

    def test_client_may_not_delete(self):
        item = Item.objects.create(board='main', name='one')
        client = self.connect()
        self.send(client, 'items', {'action': 'delete', 'pk': str(item.pk)})
        self.assertTrue(Item.objects.filter(pk=item.pk).exists())

    def test_anonymous_client_may_do_nothing(self):
        client = self.connect(login=False)
        self.send(client, 'items', {'action': 'create', 'data': {'board': 'main', 'name': 'new', 'value': 1}})
        self.assertFalse(Item.objects.exists())

    def test_stream_answers_and_tells_the_group(self):
        client = self.connect()
        self.send(client, 'echo', {'text': 'hi'})
        self.assertEqual(client.receive(), {'stream': 'echo', 'payload': {'echo': 'hi'}})
        self.assertEqual(client.receive(), {'stream': 'chatter', 'payload': {'said': 'hi'}})
        self.assertEqual(json.loads('{}'), {})
