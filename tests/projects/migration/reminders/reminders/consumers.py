from __future__ import absolute_import, unicode_literals

from channels import Channel
from channels.exceptions import ConsumeLater
from django.core import mail
from django.db import transaction

from .models import Reminder


def plan(message):
    """Stores a reminder, and has it sent when it is due."""
    reminder = Reminder.objects.create(user_id=message['user'], text=message['text'])
    Channel('asgi.delay').send({
        'channel': 'reminders.send',
        'content': {'pk': reminder.pk},
        'delay': message['minutes'] * 60 * 1000,
    })


def send_reminder(message):
    with transaction.atomic():
        reminder = Reminder.objects.select_for_update().filter(pk=message['pk'], sent=False).first()
        if reminder is None:
            return
        if not reminder.user.email:
            raise ConsumeLater()
        reminder.sent = True
        reminder.save()
    Channel('mail.send').send({'to': reminder.user.email, 'text': reminder.text})


def send_mail(message):
    mail.send_mail('Reminder', message['text'], 'bot@example.com', [message['to']])
