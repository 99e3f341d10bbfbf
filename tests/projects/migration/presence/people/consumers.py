import json

from channels import Channel, Group
from channels.exceptions import ChannelSocketException, WebsocketCloseException
from channels.generic import BaseConsumer
from channels.generic.websockets import WebsocketConsumer

from .models import Person


class Shout(ChannelSocketException):

    def run(self, message):
        message.reply_channel.send({'text': 'not so loud'})


class Presence(WebsocketConsumer):

    groups = ['people']

    def connect(self, message, name):
        Person.objects.update_or_create(name=name, defaults={'online': True})
        self.message.reply_channel.send({'accept': True})
        Group('people').send({'text': json.dumps({'online': name})})

    def receive(self, text=None, bytes=None, name=None):
        if text == 'bye':
            raise WebsocketCloseException(4001)
        if text.isupper():
            raise Shout()
        Channel('audit').send({'level': 'high', 'text': text, 'reply_channel': self.message.reply_channel.name})

    def disconnect(self, message, name):
        Person.objects.filter(name=name).update(online=False)


class Audit(BaseConsumer):

    method_mapping = {'audit': 'audit'}
    log = []

    def audit(self, message, **kwargs):
        Audit.log.append(message['text'])
        message.reply_channel.send({'text': 'noted'})
