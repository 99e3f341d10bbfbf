"""Binding classes for tests, and the requests of clients for changes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.apps import apps
from django.contrib.auth.models import User

from channels_classic.binding.websockets import WebsocketBinding
from channels_classic.generic.websockets import WebsocketDemultiplexer
from channels_classic.test import WSClient, apply_routes

MODELS: Any = (*(model for model in apps.get_app_config("inventory").get_models() if not model._meta.proxy), User)
"""A model of each shape."""


class Permissive:
    """A stream, a group, and permission for everybody."""

    stream = "test"

    @classmethod
    def group_names(cls, instance: Any) -> list[str]:
        return ["users"]

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        return True


def bound(model: Any = User, base: Any = WebsocketBinding, **attributes: Any) -> Any:
    """Return a new binding class."""
    return type("TestBinding", (Permissive, base), {"model": model, **attributes})


def received(client: WSClient) -> list[Any]:
    """Return all frames that were sent to the client."""
    found = []
    while (reply := client.receive()) is not None:
        found.append(reply)
    return found


def demultiplexed(binding: Any) -> Any:
    """Return a demultiplexer with the binding on the stream `users`."""

    class Demultiplexer(WebsocketDemultiplexer):
        consumers: ClassVar[dict[str, Any]] = {"users": binding.consumer}
        groups = ("inbound",)

    return Demultiplexer


def ask(binding: Any, client: WSClient | None = None, **payload: Any) -> Any:
    """Ask for a change as a browser does."""
    with apply_routes([demultiplexed(binding).as_route(path=r"^/(?P<id>\d*)")]):
        return (client or WSClient()).send_and_consume(
            "websocket.receive", text={"stream": "users", "payload": payload}, path="/123"
        )


def rows(model: Any) -> list[dict[str, Any]]:
    """Return all rows of a model."""
    return list(model._base_manager.order_by("pk").values())


def everything() -> Any:
    """Return all rows of all models."""
    return {model.__name__: rows(model) for model in MODELS}
