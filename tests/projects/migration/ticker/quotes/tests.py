import io

from channels.exceptions import DenyConnection
from channels.test import ChannelTestCase, WSClient
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import override_settings


class QuoteTests(ChannelTestCase):

    def connect(self):
        client = WSClient(ordered=True)
        client.send_and_consume('websocket.connect', path='/quotes/ACME')
        self.assertEqual(client.receive(), {'watching': 'ACME'})
        return client

    def test_a_command_pushes_a_quote(self):
        client = self.connect()
        out = io.StringIO()
        call_command('quote', 'ACME', '12.5', stdout=out)
        self.assertEqual(client.receive(), {'price': 12.5})
        self.assertIsNone(client.receive())
        self.assertEqual(out.getvalue(), u'sent\n')

    def test_a_view_pushes_a_quote(self):
        client = self.connect()
        response = self.client.get('/push/ACME/', HTTP_X_REQUESTED_WITH='XMLHttpRequest', HTTP_HOST='localhost')
        self.assertEqual(response.json(), {'pushed': 'ACME', 'ajax': True})
        self.assertEqual(client.receive(), {'price': 1.5})

    def test_another_symbol_is_not_watched(self):
        client = self.connect()
        call_command('quote', 'OTHER', '1', stdout=io.StringIO())
        self.assertIsNone(client.receive())

    def test_the_channel_session_counts(self):
        client = self.connect()
        client.send_and_consume('websocket.receive', text={'count': 2}, path='/quotes/ACME')
        client.send_and_consume('websocket.receive', text={'count': 1}, path='/quotes/ACME')
        self.assertEqual(client.receive(), {'asked': 2})
        self.assertEqual(client.receive(), {'asked': 3})

    def test_frames_out_of_order_wait(self):
        client = self.connect()
        client.order = 2
        client.send_and_consume('websocket.receive', text={'count': 10}, path='/quotes/ACME')
        self.assertIsNone(client.receive())
        client.order = 1
        client.send_and_consume('websocket.receive', text={'count': 1}, path='/quotes/ACME')
        client.consume('websocket.receive')
        self.assertEqual(client.receive(), {'asked': 1})
        self.assertEqual(client.receive(), {'asked': 11})


@override_settings(SESSION_ENGINE='django.contrib.sessions.backends.db')
class AdminTests(ChannelTestCase):

    def client_from(self, origin):
        client = WSClient()
        client.set_header('origin', origin)
        client.force_login(User.objects.create_user('admin'))
        return client

    def test_admin_is_told_about_quotes(self):
        client = self.client_from(b'https://ticker.example.com')
        client.send_and_consume('websocket.connect', path='/admin')
        call_command('quote', 'ACME', '1', stdout=io.StringIO())
        self.assertEqual(client.receive(), {'sent': 'ACME'})

    def test_bytes_are_answered_and_text_closes(self):
        client = self.client_from(b'https://ticker.example.com')
        client.send_and_consume('websocket.connect', path='/admin')
        client.send_and_consume('websocket.receive', {'bytes': b'abc', 'path': '/admin'})
        self.assertEqual(client.receive(), {'bytes': b'cba'})
        client.send_and_consume('websocket.receive', text='bye', path='/admin')
        self.assertEqual(client.receive(), {'close': 4000})

    def test_foreign_page_is_denied(self):
        client = self.client_from(b'https://evil.example.com')
        with self.assertRaises(DenyConnection):
            client.send_and_consume('websocket.connect', path='/admin')

    def test_anonymous_user_is_denied(self):
        client = WSClient()
        client.set_header('origin', b'https://ticker.example.com')
        with self.assertRaises(DenyConnection):
            client.send_and_consume('websocket.connect', path='/admin')
