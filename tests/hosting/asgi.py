"""An `asgi.py` as users write it, on the site of the tests."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.projects.site.settings")

from django.core.asgi import get_asgi_application

from channels_classic.asgi import channel_layers
from channels_classic.interface_server import InterfaceServer

django_application = get_asgi_application()
alone = InterfaceServer(channel_layers.make_layer("default"))


async def beside(scope: Any, receive: Any, send: Any) -> None:
    """HTTP in this process, WebSockets to the workers."""
    await (django_application if scope["type"] == "http" else alone)(scope, receive, send)
