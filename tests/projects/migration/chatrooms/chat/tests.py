# -*- coding: utf-8 -*-
from __future__ import unicode_literals

from django.contrib.auth.models import User
from django.core.urlresolvers import reverse

from channels.tests import ChannelTestCase, HttpClient

from .models import Message, Room


class ChatTests(ChannelTestCase):

    def setUp(self):
        self.room = Room.objects.create(title=u'Café')
        self.user = User.objects.create_user(username='alice', password='secret')

    def connect(self, user=None):
        client = HttpClient()
        if user:
            client.force_login(user)
        client.send_and_consume('websocket.connect', path='/ws/chat/stream/')
        return client

    def command(self, client, **content):
        client.send_and_consume('websocket.receive', text=content, path='/ws/chat/stream/')
        client.consume('chat.receive')

    def test_join_answers_with_the_title(self):
        client = self.connect(self.user)
        self.command(client, command='join', room=self.room.pk)
        self.assertEqual(client.receive(), {'join': str(self.room.pk), 'title': u'Café'})

    def test_message_reaches_everybody_and_is_stored(self):
        alice = self.connect(self.user)
        bob = self.connect(User.objects.create_user(username='bob'))
        for client in (alice, bob):
            self.command(client, command='join', room=self.room.pk)
            client.receive()
        self.command(bob, command='send', room=self.room.pk, message=u'hé')
        for client in (alice, bob):
            self.assertEqual(client.receive(), {'room': self.room.pk, 'message': u'hé', 'username': 'bob'})
            self.assertIsNone(client.receive())
        self.assertEqual(Message.objects.get().text, u'hé')

    def test_anonymous_user_gets_an_error(self):
        client = self.connect()
        self.command(client, command='join', room=self.room.pk)
        self.assertEqual(client.receive(), {'error': 'USER_HAS_TO_LOGIN'})

    def test_room_for_staff_is_closed_to_others(self):
        staff = Room.objects.create(title='Staff', staff_only=True)
        client = self.connect(self.user)
        self.command(client, command='join', room=staff.pk)
        self.assertEqual(client.receive(), {'error': 'ROOM_ACCESS_DENIED'})

    def test_nothing_comes_after_disconnect(self):
        client = self.connect(self.user)
        self.command(client, command='join', room=self.room.pk)
        client.receive()
        client.send_and_consume('websocket.disconnect', path='/ws/chat/stream/')
        self.room.send_message('late', self.user)
        self.assertIsNone(client.receive())

    def test_page_loads_the_bridge(self):
        response = self.client.get(reverse('room', args=[self.room.pk]))
        self.assertContains(response, 'channels/js/websocketbridge.js')
