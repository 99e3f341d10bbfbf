import json

from channels import Channel
from channels.auth import channel_session_user_from_http, channel_session_user

from .models import Room
from .utils import catch_client_error, get_room_or_error


@channel_session_user_from_http
def ws_connect(message):
    message.reply_channel.send({'accept': True})
    message.channel_session['rooms'] = []


def ws_receive(message):
    # Unpacks the frame and sends it on to the channel of commands, keeping the reply channel.
    payload = json.loads(message['text'])
    payload['reply_channel'] = message.content['reply_channel']
    Channel("chat.receive").send(payload)


@channel_session_user
def ws_disconnect(message):
    for room_id in message.channel_session.get("rooms", set()):
        room = Room.objects.get(pk=room_id)
        room.websocket_group.discard(message.reply_channel)


@channel_session_user
@catch_client_error
def chat_join(message):
    room = get_room_or_error(message["room"], message.user)
    room.websocket_group.add(message.reply_channel)
    message.channel_session['rooms'] = list(set(message.channel_session['rooms']).union([room.id]))
    message.reply_channel.send({"text": json.dumps({"join": str(room.id), "title": room.title})})


@channel_session_user
@catch_client_error
def chat_send(message):
    room = get_room_or_error(message["room"], message.user)
    room.send_message(message["message"], message.user)
