"""Bindings whose messages are frames of a `WebsocketDemultiplexer`'s stream, in JSON.

Out go ``{"action", "pk", "data", "model"}``, in come ``{"action", "pk"?, "data"?}``.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.core import serializers
from django.core.serializers.base import DeserializedObject
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from channels_classic.binding.base import Binding, field_names
from channels_classic.generic.websockets import WebsocketMultiplexer
from channels_classic.message import Message
from channels_classic.sessions import Consumer, enforce_ordering
from channels_classic.utils import name_that_thing

__all__ = ["WebsocketBinding", "WebsocketBindingWithMembers"]


class WebsocketBinding(Binding):
    """Binds a model to sockets on the stream called ``stream``: put ``consumer`` into a demultiplexer's ``consumers``.

    Clients may only see and change what ``fields`` or ``exclude`` allows, and never a primary key. To say who may,
    define ``has_permission``.
    """

    model: Any = None
    stream: str | None = None
    strict_ordering = False
    slight_ordering = False

    # From the model to groups

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """The frame that carries a payload."""
        return WebsocketMultiplexer.encode(stream, payload)

    def serialize(self, instance: models.Model, action: str) -> Any:
        """The payload that tells of a change."""
        return {
            "action": action,
            "pk": instance.pk,
            "data": self.serialize_data(instance),
            "model": self.model_label,
        }

    def serialize_data(self, instance: models.Model) -> dict[str, Any]:
        """The fields of an instance that clients may see, as Django's serialiser gives them; not the primary key."""
        if self.fields is not None:
            names = field_names(self.fields)
        else:
            names = [field.name for field in instance._meta.get_fields() if self._is_allowed(field.name)]
        text = serializers.serialize("json", [instance], fields=names)
        data: dict[str, Any] = json.loads(text)[0]["fields"]
        return data

    # From frames to the model

    @classmethod
    def get_handler(cls) -> Consumer:
        """As in ``Binding``, in order if ``strict_ordering`` says so."""
        handler = super().get_handler()
        if cls.strict_ordering or cls.slight_ordering:
            return enforce_ordering(handler, slight=not cls.strict_ordering)  # type: ignore[no-any-return]  # see there
        return handler

    @classmethod
    def trigger_inbound(cls, message: Message, **kwargs: Any) -> None:
        """As in ``Binding``; what a demultiplexer says when a socket opens or closes is ignored."""
        if message.channel.name == "websocket.receive":
            super().trigger_inbound(message, **kwargs)

    def deserialize(self, message: Message) -> tuple[str, Any, Any]:
        """The action, the primary key and the data of a frame. Raises ``KeyError`` when there is no action."""
        body = json.loads(message["text"])
        return body["action"], body.get("pk"), body.get("data")

    def create(self, data: Any) -> None:
        """Create an instance of the fields in ``data`` that clients may set; ``Model.save`` is not called.

        Raises ``FieldDoesNotExist`` for a field the model does not have, ``ValueError`` when ``data`` is no dict.
        """
        self._hydrate(None, self._allowed(data)).save()

    def update(self, pk: Any, data: Any) -> None:
        """Set the fields in ``data`` that clients may set.

        Raises as ``create`` does, and the model's ``DoesNotExist``.
        """
        instance = self.model.objects.get(pk=pk)
        changes = self._allowed(data)
        hydrated = self._hydrate(pk, changes)
        for name in changes:
            setattr(instance, name, getattr(hydrated.object, name))
        instance.save()

    def _hydrate(self, pk: Any, data: dict[str, Any]) -> DeserializedObject:
        """An instance made of what came as JSON, not saved."""
        found = serializers.deserialize("python", [{"model": self.model_label, "pk": pk, "fields": data}])
        hydrated: DeserializedObject = next(iter(found))
        return hydrated

    def _allowed(self, data: Any) -> dict[str, Any]:
        """What clients may set of ``data``; the rest is dropped silently, so that they may send back what they got."""
        if not isinstance(data, dict):
            raise ValueError(f"{name_that_thing(self)} was given the data {data!r}: expected a dict of field to value.")
        fields = {name: self.model._meta.get_field(name) for name in data}
        return {name: data[name] for name, field in fields.items() if self._is_settable(field)}

    def _is_settable(self, field: Any) -> bool:
        # With another primary key the change would be made to a row that permission was not asked for; the far side of
        # a relation is no field of the model. A foreign key is also known as "…_id": its own name says what is allowed.
        return isinstance(field, models.Field) and not field.primary_key and self._is_allowed(field.name)

    def _is_allowed(self, name: str) -> bool:
        if self.fields is not None:
            names = field_names(self.fields)
            return names is None or name in names
        names = field_names(self.exclude)
        return names is not None and name not in names


class WebsocketBindingWithMembers(WebsocketBinding):
    """Sends more than fields: ``send_members`` names attributes, properties and methods without arguments.

    A name may have dots, which become ``__`` in what is sent.
    """

    model: Any = None
    send_members: ClassVar[list[str]] = []
    encoder: json.JSONEncoder = DjangoJSONEncoder()

    def serialize_data(self, instance: models.Model, **kwargs: Any) -> dict[str, Any]:
        """As in ``WebsocketBinding``, with the members."""
        data = super().serialize_data(instance, **kwargs)
        members = {name.replace(".", "__"): _member(instance, name) for name in self.send_members}
        data.update(json.loads(self.encoder.encode(members)))
        return data


def _member(instance: models.Model, path: str) -> Any:
    value: Any = instance
    for name in path.split("."):
        value = getattr(value, name)
    return value() if callable(value) else value
