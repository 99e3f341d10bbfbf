"""Models bound to groups: save and delete signals become messages, and inbound messages become changes.

Subclasses define the format of the messages; see `channels_classic.binding.websockets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import django
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.manager import BaseManager
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from channels_classic.auth import channel_session, channel_session_user
from channels_classic.binding._inbound import to_pk
from channels_classic.binding._rejections import REJECTIONS, RejectionLog
from channels_classic.channel import Group
from channels_classic.message import Message
from channels_classic.sessions import Consumer
from channels_classic.utils import name_that_thing

__all__ = ["CREATE", "DELETE", "UPDATE", "Binding", "BindingMetaclass"]

CREATE = "create"
UPDATE = "update"
DELETE = "delete"


class BindingMetaclass(type):
    """Keeps all bindings and registers them when the models are loaded.

    Signals refer to their receivers weakly: `binding_classes` keeps them alive.
    """

    binding_classes: ClassVar[list[Any]] = []
    register_immediately: ClassVar[bool] = False

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        binding: Any = super().__new__(mcs, name, bases, body)
        binding._rejections = RejectionLog()
        if bases:
            mcs.binding_classes.append(binding)
            if mcs.register_immediately:
                binding.register()
        return binding

    @classmethod
    def register_all(mcs) -> None:
        """Register all bindings, and later ones when their class is created."""
        for binding in mcs.binding_classes:
            binding.register()
        mcs.register_immediately = True


class Binding(metaclass=BindingMetaclass):
    """Binds `model`, a class or `"app.Model"`, to the groups that `group_names` returns for an instance.

    `fields` or `exclude` names the fields that clients see and may change; `fields = "__all__"` means all of
    them. A class with `model = None` in its body is abstract. `QuerySet.update` and `bulk_create` send no
    signals, so their changes are not sent. Bindings that are defined before the models are loaded are registered when
    the apps are ready. Raises `ValueError` then, or in the `class` statement, for an incomplete binding.
    """

    model: Any = None
    stream: str | None
    fields: Any = None
    exclude: Any = None
    channel_session_user = True
    channel_session = False

    group_moves: bool = True
    """True if an update is a deletion for groups that the instance leaves; costs one query per update."""
    after_commit: bool = False
    """True if messages wait until the transaction is committed, so that their receivers can read the change."""

    signal_kwargs: dict[str, Any] | None = None
    model_label: str
    _rejections: RejectionLog

    instance: models.Model
    message: Message
    kwargs: dict[str, Any]
    user: Any

    # Registration

    @classmethod
    def register(cls) -> None:
        """Connect to the signals of the model. Calling it twice has no further effect."""
        for model in cls.get_registered_models():
            pre_save.connect(cls.pre_save_receiver, sender=model)
            post_save.connect(cls.post_save_receiver, sender=model)
            pre_delete.connect(cls.pre_delete_receiver, sender=model)
            post_delete.connect(cls.post_delete_receiver, sender=model)

    @classmethod
    def get_registered_models(cls) -> list[type[models.Model]]:
        """Return a list of the model, or an empty list for an abstract binding. Raises `ValueError`."""
        if cls.model is None:
            if "model" in cls.__dict__:
                return []
            raise ValueError(
                f"{name_that_thing(cls)} has no model: set one, or write model = None in its body if it is abstract."
            )
        if cls.fields is None and cls.exclude is None:
            raise ValueError(
                f"{name_that_thing(cls)} has neither fields nor exclude: list the fields of {cls.model} that clients "
                'may see and change, or write fields = "__all__".'
            )
        if isinstance(cls.model, str):
            cls.model = apps.get_model(cls.model)
        cls.model_label = cls.model._meta.label_lower
        return [cls.model]

    # From the model to groups

    @classmethod
    def pre_save_receiver(cls, instance: models.Model, **kwargs: Any) -> None:
        """Receive `pre_save`."""
        if not kwargs.get("raw"):
            cls.pre_change_receiver(instance, CREATE if instance._state.adding else UPDATE)

    @classmethod
    def post_save_receiver(cls, instance: models.Model, created: bool, **kwargs: Any) -> None:
        """Receive `post_save`. Rows of fixtures are sent as created, when their transaction is committed."""
        if not kwargs.get("raw"):
            if not created and django.VERSION < (6, 0):
                _forget_generated_fields(instance)
            cls.post_change_receiver(instance, CREATE if created else UPDATE, **kwargs)
            return

        def send() -> None:
            cls._send_loaded(instance.pk, **kwargs)

        transaction.on_commit(send, using=kwargs.get("using"), robust=True)

    @classmethod
    def _send_loaded(cls, pk: Any, **kwargs: Any) -> None:
        """Send a row of a fixture as it is stored. The instance that was saved lacks the fields of its parents, and
        the rows that it refers to may have been loaded after it."""
        stored = cls.model._base_manager.using(kwargs.get("using")).filter(pk=pk).first()
        if stored is not None:
            cls.pre_change_receiver(stored, CREATE)
            cls.post_change_receiver(stored, CREATE, **kwargs)

    @classmethod
    def pre_delete_receiver(cls, instance: models.Model, **kwargs: Any) -> None:
        """Receive `pre_delete`."""
        cls.pre_change_receiver(instance, DELETE)

    @classmethod
    def post_delete_receiver(cls, instance: models.Model, **kwargs: Any) -> None:
        """Receive `post_delete`."""
        cls.post_change_receiver(instance, DELETE, **kwargs)

    @classmethod
    def pre_change_receiver(cls, instance: models.Model, action: str) -> None:
        """Store the groups that the instance is in before a change."""
        before = cls._before(instance, action)
        groups = set() if before is None else set(cls.group_names(before))
        vars(instance).setdefault("_binding_group_names", {})[cls] = groups

    @classmethod
    def _before(cls, instance: models.Model, action: str) -> models.Model | None:
        """Return the instance before a change. An update has already changed the one at hand, but not the row."""
        if action == CREATE:
            return None
        if action == DELETE or not cls.group_moves:
            return instance
        stored: models.Model | None = cls.model._base_manager.using(instance._state.db).filter(pk=instance.pk).first()
        return stored

    @classmethod
    def post_change_receiver(cls, instance: models.Model, action: str, **kwargs: Any) -> None:
        """Send a change to the groups that the instance was in before, and to those it is in now."""
        before = vars(instance)["_binding_group_names"][cls]
        send = partial(cls._send_change, instance, action, before, **kwargs)
        held = vars(instance).get(_HELD)
        if held is None:
            send()
        else:
            held.append(send)

    @classmethod
    def _send_change(cls, instance: models.Model, action: str, before: set[str], **kwargs: Any) -> None:
        """Send DELETE to groups that the instance has left, UPDATE to those it stays in, CREATE to the new ones."""
        after = set() if action == DELETE else set(cls.group_names(instance))
        binding = cls()
        binding.instance = instance
        binding.send_messages(instance, before - after, DELETE, **kwargs)
        binding.send_messages(instance, before & after, UPDATE, **kwargs)
        binding.send_messages(instance, after - before, CREATE, **kwargs)

    def send_messages(self, instance: models.Model, group_names: Iterable[str], action: str, **kwargs: Any) -> None:
        """Send a change to groups, on the default layer. Nothing is sent when `serialize` returns `{}`.

        Messages sent inside a consumer leave when it returns, others at once, unless `after_commit` is set.
        """
        names = list(group_names)
        if not names:
            return
        self.signal_kwargs = kwargs
        payload = self.serialize(instance, action)
        if payload == {}:
            return
        assert self.stream is not None, f"{name_that_thing(self)} has no stream: set it to the name clients listen on."
        message = self.encode(self.stream, payload)

        def send() -> None:
            for name in names:
                Group(name).send(message)

        if self.after_commit:
            transaction.on_commit(send, using=kwargs.get("using"))
        else:
            send()

    @classmethod
    def group_names(cls, instance: models.Model) -> Iterable[str]:
        """Return the groups that receive changes of `instance`. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(cls)} must define group_names(cls, instance).")

    def serialize(self, instance: models.Model, action: str) -> Any:
        """Return the payload for a change. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(self)} must define serialize(self, instance, action).")

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """Return the message that contains a payload. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(cls)} must define encode(cls, stream, payload).")

    # From messages to the model

    @classmethod
    def consumer(cls, message: Message, **kwargs: Any) -> None:
        """Consume a message that asks for a change. For a route, or for `consumers` of a demultiplexer."""
        cls.get_handler()(message, **kwargs)

    @classmethod
    def get_handler(cls) -> Consumer:
        """Return `trigger_inbound`, decorated according to the attributes of the class."""
        handler: Consumer = cls.trigger_inbound
        if cls.channel_session_user:
            return channel_session_user(handler)
        if cls.channel_session:
            return channel_session(handler)
        return handler

    @classmethod
    def trigger_inbound(cls, message: Message, **kwargs: Any) -> None:
        """Make the change that a message asks for, if its user has permission.

        A change that is invalid, or that the database refuses, is logged in one line. It raises nothing, so that a
        client can neither fill the log with tracebacks nor hold up the order of its socket.
        """
        from django.contrib.auth.models import AnonymousUser  # models can be imported only once the apps are ready

        binding = cls()
        binding.message = message
        binding.kwargs = kwargs
        action = pk = None
        try:
            action, pk, data = binding.deserialize(message)
            binding.user = getattr(message, "user", None) or AnonymousUser()
            binding.run_action(action, pk, data)
        except (*REJECTIONS, cls.model.DoesNotExist) as error:
            cls._rejections.add(cls, action, pk, error)

    def run_action(self, action: str, pk: Any, data: Any) -> None:
        """Make a change if `has_permission` allows it, otherwise do nothing.

        Raises `ValidationError` for an unknown action.
        """
        if not self.has_permission(self.user, action, pk):
            return
        if action == CREATE:
            self.create(data)
        elif action == UPDATE:
            self.update(pk, data)
        elif action == DELETE:
            self.delete(pk)
        else:
            raise ValidationError(f"Unknown action {action!r}: expected {CREATE!r}, {UPDATE!r} or {DELETE!r}.")

    def deserialize(self, message: Message) -> tuple[str, Any, Any]:
        """Return the action, the primary key and the data of a message. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(self)} must define deserialize(self, message).")

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        """Return whether `user` may update or delete the row `pk`, or create one. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(self)} must define has_permission(self, user, action, pk).")

    def create(self, data: Any) -> None:
        """Create a row. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(self)} must define create(self, data).")

    def update(self, pk: Any, data: Any) -> None:
        """Update a row. To be defined by subclasses."""
        raise NotImplementedError(f"{name_that_thing(self)} must define update(self, pk, data).")

    def delete(self, pk: Any) -> None:
        """Delete the row with a primary key; do nothing if there is none. Raises `ValidationError`."""
        key = to_pk(self.model, pk)
        rows = self._manager().filter(pk=key)
        if key in rows.values_list("pk", flat=True):  # some collations find "IS" by "is"
            rows.delete()

    @classmethod
    def _manager(cls) -> Any:
        """Return the manager that finds rows for clients: `objects`, or else the default manager."""
        objects = getattr(cls.model, "objects", None)
        return objects if isinstance(objects, BaseManager) else cls.model._default_manager


def _forget_generated_fields(instance: models.Model) -> None:
    """Let fields that the database computes be read from there again; an update leaves what they were before."""
    for field in instance._meta.concrete_fields:
        if field.generated:
            vars(instance).pop(field.attname, None)


_HELD = "_binding_held_messages"


def hold_messages(instance: models.Model) -> None:
    """Hold what bindings send about an instance until its change is complete: it may still fail."""
    vars(instance)[_HELD] = []


def send_held_messages(instance: models.Model) -> None:
    """Send what was held."""
    held: list[Callable[[], None]] = vars(instance).pop(_HELD)
    for send in held:
        send()


def field_names(given: Any) -> Sequence[str] | None:
    """Return `fields` or `exclude` as a list of names, or `None` for `"__all__"`, alone or in a sequence."""
    names = [given] if isinstance(given, str) else list(given)
    return None if names == ["__all__"] else names
