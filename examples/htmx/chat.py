"""A chat with htmx: run `python chat.py runserver` and open http://localhost:8000/ in two windows."""

from __future__ import annotations

import json

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
from django.utils.html import format_html

from channels_classic import Group

PAGE = """<!DOCTYPE html><title>Chat</title>
<script src="https://unpkg.com/htmx.org@2.0.11/dist/htmx.min.js"></script>
<script src="https://unpkg.com/htmx-ext-ws@2.0.4/dist/ws.min.js"></script>
<main hx-ext="ws" ws-connect="/chat/"><ul id="lines"></ul>
<form ws-send hx-on::ws-after-send="this.reset()"><input name="text" autofocus> <button>Send</button></form></main>"""

LINE = '<ul id="lines" hx-swap-oob="beforeend"><li>{}</li></ul>'


def connect(message):
    message.reply_channel.send({"accept": True})
    Group("chat").add(message.reply_channel)


def receive(message):
    text = json.loads(message["text"])["text"]
    Group("chat").send({"text": format_html(LINE, text)})


urlpatterns = [path("", lambda request: HttpResponse(PAGE))]

if __name__ == "__main__":
    layer = {"ROUTING": {"websocket.connect": connect, "websocket.receive": receive}}
    settings.configure(DEBUG=True, SECRET_KEY="public", ROOT_URLCONF=__name__, CHANNEL_LAYERS={"default": layer})
    settings.INSTALLED_APPS = ["channels_classic"]
    execute_from_command_line()
