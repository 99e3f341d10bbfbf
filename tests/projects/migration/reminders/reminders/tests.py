import json
from datetime import timedelta

from channels import Channel
from channels.delay.models import DelayedMessage
from channels.exceptions import ConsumeLater
from channels.tests import ChannelTestCase, Client
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone

from .models import Reminder


class ReminderTests(ChannelTestCase):

    def setUp(self):
        self.user = User.objects.create_user('alice', email='alice@example.com')

    def test_plan_stores_and_delays(self):
        client = Client()
        client.send_and_consume('reminders.plan', {'user': self.user.pk, 'text': 'Tea', 'minutes': 5})
        reminder = Reminder.objects.get()
        delayed = self.get_next_message('asgi.delay', require=True)
        self.assertEqual(delayed.content, {
            'channel': 'reminders.send',
            'content': {'pk': reminder.pk},
            'delay': 300000,
            'reply_channel': delayed['reply_channel'],
        } if 'reply_channel' in delayed else {
            'channel': 'reminders.send', 'content': {'pk': reminder.pk}, 'delay': 300000,
        })

    def test_due_message_is_sent_to_its_channel(self):
        reminder = Reminder.objects.create(user=self.user, text='Tea')
        for minutes in (-1, 10):
            message = DelayedMessage(channel_name='reminders.send', content=json.dumps({'pk': reminder.pk}), delay=0)
            message.save()
            DelayedMessage.objects.filter(pk=message.pk).update(due_date=timezone.now() + timedelta(minutes=minutes))
        due = DelayedMessage.objects.is_due()
        self.assertEqual(due.count(), 1)
        due.get().send()
        self.assertEqual(DelayedMessage.objects.count(), 1)
        client = Client()
        client.consume('reminders.send')
        client.consume('mail.send')
        self.assertEqual([message.to for message in mail.outbox], [['alice@example.com']])
        reminder.refresh_from_db()
        self.assertTrue(reminder.sent)

    def test_reminder_is_sent_once(self):
        reminder = Reminder.objects.create(user=self.user, text='Tea', sent=True)
        Client().send_and_consume('reminders.send', {'pk': reminder.pk})
        self.assertIsNone(self.get_next_message('mail.send'))

    def test_user_without_address_is_tried_later(self):
        User.objects.update(email='')
        reminder = Reminder.objects.create(user=self.user, text='Tea')
        with self.assertRaises(ConsumeLater):
            Client().send_and_consume('reminders.send', {'pk': reminder.pk})

    def test_channels_without_a_reply_are_fire_and_forget(self):
        Channel('mail.send').send({'to': 'bob@example.com', 'text': 'Hi'})
        Client().consume('mail.send')
        self.assertEqual(mail.outbox[0].body, 'Hi')
