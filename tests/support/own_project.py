"""A small project of a user, made in a folder of its own, whose `manage.py` runs as real processes."""

from __future__ import annotations

import http.client
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from tests.support.processes import Process
from tests.support.redis_server import free_port

HOST = "127.0.0.1"

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
execute_from_command_line(sys.argv)
"""

SETTINGS = """
from pathlib import Path
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["channels_classic", "django.contrib.staticfiles"]
DATABASES = {}
STATIC_URL = "/static/"
STATICFILES_DIRS = [Path(__file__).parent.parent / "files"]
CHANNEL_LAYERS = {"default": {"ROUTING": "mysite.routing.channel_routing"}}
"""

URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("a page"))]
"""

ROUTING = """
from channels_classic import Group

def connect(message):
    Group("all").add(message.reply_channel)
    message.reply_channel.send({"accept": True})

def receive(message):
    message.reply_channel.send({"text": "first " + message["text"]})

channel_routing = {"websocket.connect": connect, "websocket.receive": receive}
"""


class Project:
    """`settings` is added to settings that work with the embedded layer, in a place of its own."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.environment: dict[str, str | None] = {
            "DJANGO_SETTINGS_MODULE": None,
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        }
        self.write("manage.py", MANAGE)
        self.write("mysite/__init__.py", "")
        # The address of the embedded layer follows from the key.
        self.write("mysite/settings.py", f"SECRET_KEY = {str(folder)!r}\n{SETTINGS}{settings}")
        self.write("mysite/urls.py", URLS)
        self.write("mysite/routing.py", ROUTING)
        self.write("files/site.css", "body { color: green }")

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project; its path."""
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        return target

    def run(self, *arguments: str) -> Process:
        """Start `manage.py` with these arguments."""
        return Process([sys.executable, "manage.py", *arguments], cwd=self.folder, env=self.environment)

    def get(self, path: str) -> tuple[int, str]:
        """The status and the content of a page."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def socket(self, path: str = "/") -> ClientConnection:
        """A WebSocket, to be opened with `with`."""
        return connect(f"ws://{HOST}:{self.port}{path}", open_timeout=20, close_timeout=5)


@contextmanager
def own_project(settings: str = "") -> Iterator[Project]:
    """A project in a folder whose name is short enough for the socket of the embedded layer."""
    with tempfile.TemporaryDirectory(prefix="project-") as folder:
        yield Project(Path(folder), settings)
