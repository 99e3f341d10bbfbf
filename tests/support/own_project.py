"""A small project of a user, made in a folder of its own, whose `manage.py` runs as real processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from tests.support.site import HOST, ROOT, Site
from tests.support.waiting import scaled

__all__ = ["HOST", "ROUTING", "SETTINGS", "Project", "own_project"]

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


class Project(Site):
    """A project in `folder` that works with the embedded layer; `settings` is added to its settings."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        super().__init__(folder, {"PYTHONPATH": str(ROOT)})
        self.write("manage.py", MANAGE)
        self.write("mysite/__init__.py", "")
        # The address of the embedded layer follows from the key.
        self.write("mysite/settings.py", f"SECRET_KEY = {str(folder)!r}\n{SETTINGS}{settings}")
        self.write("mysite/urls.py", URLS)
        self.write("mysite/routing.py", ROUTING)
        self.write("files/site.css", "body { color: green }")

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project; return its path."""
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        return target

    def socket(self, path: str = "/") -> ClientConnection:
        """Return a WebSocket, to be opened with `with`."""
        return connect(self.url(path, "ws"), open_timeout=scaled(20), close_timeout=scaled(5))


@contextmanager
def own_project(settings: str = "") -> Iterator[Project]:
    """A project of which no program runs yet; all that are started end with it."""
    with tempfile.TemporaryDirectory(prefix="project-") as folder:
        project = Project(Path(folder), settings)
        try:
            yield project
        finally:
            project.stop()
