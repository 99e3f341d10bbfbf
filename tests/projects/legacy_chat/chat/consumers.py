import json
import re

from channels import Channel
from channels.auth import channel_session_user, channel_session_user_from_http
from channels.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer
from channels.security.websockets import allowed_hosts_only
from channels.sessions import enforce_ordering

from .bindings import RoomBinding
from .models import ChatMessage, Room


@allowed_hosts_only
@enforce_ordering
@channel_session_user_from_http
def ws_connect(message, label):
    try:
        room = Room.objects.get(label=label)
    except Room.DoesNotExist:
        message.reply_channel.send({"close": True})
        return
    if not message.user.is_authenticated:
        message.reply_channel.send({"close": True})
        return
    message.channel_session["room"] = room.label
    room.websocket_group.add(message.reply_channel)
    message.reply_channel.send({"accept": True})


@enforce_ordering
@channel_session_user
def ws_receive(message):
    text = json.loads(message["text"])["text"]
    content = {"room": message.channel_session["room"], "handle": message.user.username, "text": text}
    reminder = re.match(r"/remind (\d+) (.*)", text)
    if reminder:
        content["text"] = reminder.group(2)
        Channel("asgi.delay").send(
            {"channel": "chat-messages", "content": content, "delay": int(reminder.group(1))}, immediately=True
        )
    else:
        Channel("chat-messages").send(content)


@enforce_ordering
@channel_session_user
def ws_disconnect(message):
    label = message.channel_session.get("room")
    if label:
        Room.objects.get(label=label).websocket_group.discard(message.reply_channel)


def store_message(message):
    room = Room.objects.get(label=message["room"])
    ChatMessage.objects.create(room=room, handle=message["handle"], text=message["text"]).announce()


class WhoConsumer(JsonWebsocketConsumer):
    def connect(self, message, multiplexer=None, **kwargs):
        multiplexer.send({"you": message.user.username})

    def receive(self, content, multiplexer=None, **kwargs):
        multiplexer.send({"you": self.message.user.username, "asked": content["ask"]})


class Demultiplexer(WebsocketDemultiplexer):
    http_user = True
    strict_ordering = True
    groups = ["rooms"]

    consumers = {
        "rooms": RoomBinding.consumer,
        "who": WhoConsumer,
    }
