# -*- coding: utf-8 -*-
from __future__ import unicode_literals

import json

from channels import Group
from django.contrib.auth.models import User
from django.db import models
from django.utils.encoding import python_2_unicode_compatible


@python_2_unicode_compatible
class Room(models.Model):
    title = models.CharField(max_length=255)
    staff_only = models.BooleanField(default=False)

    def __str__(self):
        return self.title

    @property
    def websocket_group(self):
        """The group that sockets join to get messages of the room."""
        return Group("room-%s" % self.id)

    def send_message(self, text, user):
        Message.objects.create(room=self, author=user, text=text)
        self.websocket_group.send({
            "text": json.dumps({'room': self.id, 'message': text, 'username': user.username}),
        })


class Message(models.Model):
    room = models.ForeignKey(Room, related_name='messages')
    author = models.ForeignKey(User)
    text = models.TextField()
