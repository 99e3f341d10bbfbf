"""Bindings whose messages are JSON frames on a stream of a `WebsocketDemultiplexer`.

Outbound payloads are `{"action", "pk", "data", "model"}`, inbound ones `{"action", "pk"?, "data"?}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core import serializers
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router, transaction

from channels_classic.binding._inbound import InboundChange, canonical_pk, decode, pk_to_json, to_pk
from channels_classic.binding.base import (
    CREATE,
    DELETE,
    UPDATE,
    Binding,
    field_names,
    hold_messages,
    send_held_messages,
)
from channels_classic.generic.websockets import WebsocketMultiplexer
from channels_classic.message import Message
from channels_classic.sessions import Consumer, enforce_ordering

__all__ = ["WebsocketBinding", "WebsocketBindingWithMembers"]


class WebsocketBinding(Binding):
    """Binds a model to WebSockets on the stream `stream`. Put `consumer` into `consumers` of a demultiplexer.

    Clients see and may change the fields that `fields` or `exclude` allows. `has_permission` decides who may.
    """

    model: Any = None
    stream: str | None = None
    strict_ordering = False
    slight_ordering = False

    # From the model to groups

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """Return the frame that contains a payload."""
        return WebsocketMultiplexer.encode(stream, payload)

    def serialize(self, instance: models.Model, action: str) -> Any:
        """Return the payload for a change."""
        return {
            "action": action,
            "pk": pk_to_json(instance.pk),
            "data": self.serialize_data(instance),
            "model": self.model_label,
        }

    def serialize_data(self, instance: models.Model) -> dict[str, Any]:
        """Return the fields of an instance that clients may see, as Django's serializer gives them.

        The primary key is not among them, and fields of parent tables are only when `fields` names them.
        """
        instances = [instance]
        names: Sequence[str] | None
        if self.fields is None:
            names = [field.name for field in instance._meta.get_fields() if self._is_allowed(field.name)]
        else:
            names = field_names(self.fields)
            if names is not None:
                instances += _parents(instance)
        serialized = json.loads(serializers.serialize("json", instances, fields=names))
        return {name: value for entry in serialized for name, value in entry["fields"].items()}

    # From frames to the model

    @classmethod
    def get_handler(cls) -> Consumer:
        """Return the handler of `Binding`, wrapped in `enforce_ordering` if `strict_ordering` is set."""
        handler = super().get_handler()
        if cls.strict_ordering or cls.slight_ordering:
            return enforce_ordering(handler, slight=not cls.strict_ordering)  # type: ignore[no-any-return]  # see there
        return handler

    @classmethod
    def trigger_inbound(cls, message: Message, **kwargs: Any) -> None:
        """Make the change that a frame asks for. Ignores `websocket.connect` and `websocket.disconnect`."""
        if message.channel.name == "websocket.receive":
            super().trigger_inbound(message, **kwargs)

    def deserialize(self, message: Message) -> tuple[str, Any, Any]:
        """Return the action, the primary key and the data of a frame. Raises `ValidationError`.

        The primary key has the form that outbound messages give it, and is `None` for a row to be created.
        """
        body = decode(message.get("text"))
        action, pk = body.get("action"), body.get("pk")
        if not isinstance(action, str):
            raise ValidationError(f"Expected the action {CREATE!r}, {UPDATE!r} or {DELETE!r}.")
        if action == CREATE:
            pk = None
        elif action in (UPDATE, DELETE):
            pk = canonical_pk(self.model, pk)
        return action, pk, body.get("data")

    def create(self, data: Any) -> None:
        """Create a row with the values in `data` that clients may set. Raises `ValidationError`.

        The row and those of its parents are inserted, so that no existing row is changed.
        """
        self._write(data, lambda database: self.model(), force_insert=(models.Model,))

    def update(self, pk: Any, data: Any) -> None:
        """Set the values in `data` that clients may set. Raises `ValidationError`, or `DoesNotExist`."""
        self._write(data, lambda database: self._locked(pk, database))

    def _write(self, data: Any, find: Callable[[str], models.Model], **options: Any) -> None:
        """Change and save an instance as a whole or not at all, and send messages about it afterwards."""
        change = InboundChange(self.model, data, self._is_allowed)
        database = router.db_for_write(self.model)
        with transaction.atomic(using=database):
            instance = find(database)
            hold_messages(instance)
            related = change.apply(instance, database)
            instance.save(**options)
            if instance.pk == "":  # neither the client nor the model's save chose one
                raise ValidationError({self.model._meta.pk.name: "This field cannot be blank."})
            for name, rows in related.items():
                getattr(instance, name).set(rows)
        send_held_messages(instance)

    def _locked(self, pk: Any, database: str) -> models.Model:
        """Return an instance whose row is locked, because saving it also writes the fields that clients may not set."""
        key = to_pk(self.model, pk)
        locked = self.model._base_manager.using(database).select_for_update().filter(pk=key)
        if key in {row.pk for row in locked}:  # some collations find "IS" by "is"
            instance: models.Model | None = self._manager().using(database).filter(pk=key).first()
            if instance is not None:
                return instance
        raise self.model.DoesNotExist(f"{self.model_label} has no row with the primary key {key!r}.")

    def _is_allowed(self, name: str) -> bool:
        if self.fields is not None:
            names = field_names(self.fields)
            return names is None or name in names
        names = field_names(self.exclude)
        return names is not None and name not in names


def _parents(instance: models.Model) -> list[models.Model]:
    """Return the instances of parent tables that an instance consists of, with its values."""
    parents = [parent for parent in instance._meta.all_parents if parent is not instance._meta.concrete_model]
    return [
        parent(**{field.attname: getattr(instance, field.attname) for field in parent._meta.concrete_fields})
        for parent in parents
    ]


class WebsocketBindingWithMembers(WebsocketBinding):
    """Sends, besides fields, the attributes, properties and results of methods that `send_members` names.

    A name may contain dots: `a.b` is sent as `a__b`.
    """

    model: Any = None
    send_members: ClassVar[list[str]] = []
    encoder: json.JSONEncoder = DjangoJSONEncoder()

    def serialize_data(self, instance: models.Model, **kwargs: Any) -> dict[str, Any]:
        """Return the fields and the members."""
        data = super().serialize_data(instance, **kwargs)
        members = {name.replace(".", "__"): _member(instance, name) for name in self.send_members}
        data.update(json.loads(self.encoder.encode(members)))
        return data


def _member(instance: models.Model, path: str) -> Any:
    value: Any = instance
    for name in path.split("."):
        value = getattr(value, name)
    return value() if callable(value) else value
