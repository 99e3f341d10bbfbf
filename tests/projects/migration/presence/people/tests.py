import time

from django.utils.six.moves.urllib.request import urlopen

from channels.test import ChannelLiveServerTestCase, ChannelTestCase, TransactionChannelTestCase, WSClient
from websockets.sync.client import connect

from people import receivers
from people.consumers import Audit
from people.models import Person


class PresenceTests(ChannelTestCase):

    def enter(self, name):
        client = WSClient()
        client.send_and_consume('websocket.connect', path='/people/%s/' % name)
        return client

    def say(self, client, text):
        client.send_and_consume('websocket.receive', text=text, path='/people/ann/')

    def test_everybody_hears_who_comes(self):
        ann = self.enter('ann')
        self.assertEqual(ann.receive(), {'online': 'ann'})
        bob = self.enter('bob')
        self.assertEqual(ann.receive(), {'online': 'bob'})
        self.assertEqual(bob.receive(), {'online': 'bob'})

    def test_who_leaves_is_offline(self):
        ann = self.enter('ann')
        self.assertTrue(Person.objects.get(name='ann').online)
        ann.send_and_consume('websocket.disconnect', path='/people/ann/')
        self.assertFalse(Person.objects.get(name='ann').online)

    def test_consumer_closes_with_its_code(self):
        ann = self.enter('ann')
        ann.receive()
        self.say(ann, 'bye')
        self.assertEqual(ann.receive(), {'close': 4001})

    def test_exception_of_the_project_answers(self):
        ann = self.enter('ann')
        ann.receive()
        self.say(ann, 'HELLO')
        self.assertEqual(ann.receive(json=False), 'not so loud')

    def test_audit_is_a_consumer_of_its_own(self):
        del Audit.log[:]
        ann = self.enter('ann')
        ann.receive()
        self.say(ann, 'quiet')
        self.assertIsInstance(ann.consume('audit'), Audit)
        self.assertEqual(Audit.log, ['quiet'])
        self.assertEqual(ann.receive(json=False), 'noted')

    def test_signals_go_around_a_consumer(self):
        del receivers.calls[:]
        self.enter('ann')
        self.assertEqual(receivers.calls, ['started', 'finished'])


class CommitTests(TransactionChannelTestCase):

    def test_presence_is_committed(self):
        WSClient().send_and_consume('websocket.connect', path='/people/ann/')
        self.assertEqual(Person.objects.count(), 1)


class LiveTests(ChannelLiveServerTestCase):

    def online(self):
        return urlopen(self.live_server_url + '/online', timeout=20).read().decode('utf-8')

    def test_a_socket_and_a_page(self):
        with connect(self.live_server_ws_url + '/people/ann/', open_timeout=20) as socket:
            self.assertEqual(socket.recv(timeout=20), '{"online": "ann"}')
            self.assertEqual(self.online(), 'ann')
            socket.send('quiet')
            self.assertEqual(socket.recv(timeout=20), 'noted')
        for _ in range(200):
            if not self.online():
                break
            time.sleep(0.05)
        self.assertEqual(self.online(), '')
