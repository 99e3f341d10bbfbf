import json

from channels.handler import AsgiHandler, AsgiRequest
from channels.security.websockets import allowed_hosts_only
from channels.sessions import channel_and_http_session, channel_session, enforce_ordering, http_session
from django.http import JsonResponse


@http_session
def status(message, name):
    request = AsgiRequest(message)
    response = JsonResponse({
        'name': name,
        'verbose': request.GET.get('verbose'),
        'visits': message.http_session['visits'] if message.http_session else None,
    })
    for chunk in AsgiHandler.encode_response(response):
        message.reply_channel.send(chunk)


@enforce_ordering
@channel_and_http_session
def watch_connect(message):
    message.reply_channel.send({'accept': True})
    message.channel_session['room'] = AsgiRequest(message).GET['room']
    if message.http_session is not None:
        message.http_session['watched'] = message.channel_session['room']


@enforce_ordering
@channel_session
def watch_receive(message):
    message.reply_channel.send({'text': json.dumps({'room': message.channel_session['room'], 'text': message['text']})})


@enforce_ordering
def watch_disconnect(message):
    pass


guarded = allowed_hosts_only(watch_connect)
