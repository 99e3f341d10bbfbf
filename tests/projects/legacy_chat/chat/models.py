import json

from channels import Group
from django.db import models


class Room(models.Model):
    label = models.SlugField(unique=True)
    topic = models.CharField(max_length=100, blank=True)
    password = models.CharField(max_length=100, blank=True)

    def __str__(self):
        return self.label

    @property
    def websocket_group(self):
        return Group("room-%s" % self.label)

    @property
    def loud(self):
        return self.topic.upper()


class ChatMessage(models.Model):
    room = models.ForeignKey(Room, related_name="messages", on_delete=models.CASCADE)
    handle = models.TextField()
    text = models.TextField()

    def __str__(self):
        return "{handle}: {text}".format(**self.as_dict())

    def as_dict(self):
        return {"handle": self.handle, "text": self.text}

    def announce(self):
        self.room.websocket_group.send({"text": json.dumps(self.as_dict())})
