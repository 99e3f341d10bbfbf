"""A model bound to groups: its save and delete signals become messages, and messages become changes of it.

What the messages look like is up to subclasses, such as those in `channels_classic.binding.websockets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.apps import apps
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from channels_classic.auth import channel_session, channel_session_user
from channels_classic.channel import Group
from channels_classic.message import Message
from channels_classic.sessions import Consumer
from channels_classic.utils import name_that_thing

__all__ = ["CREATE", "DELETE", "UPDATE", "Binding", "BindingMetaclass"]

CREATE = "create"
UPDATE = "update"
DELETE = "delete"


class BindingMetaclass(type):
    """Keeps all bindings, and registers them once the models are there.

    ``binding_classes`` is what keeps their signal receivers alive, too.
    """

    binding_classes: ClassVar[list[Any]] = []
    register_immediately: ClassVar[bool] = False

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        binding: Any = super().__new__(mcs, name, bases, body)
        if bases:
            mcs.binding_classes.append(binding)
            if mcs.register_immediately:
                binding.register()
        return binding

    @classmethod
    def register_all(mcs) -> None:
        """Register the bindings there are, and from now on each where its class is made."""
        for binding in mcs.binding_classes:
            binding.register()
        mcs.register_immediately = True


class Binding(metaclass=BindingMetaclass):
    """Binds ``model``, a class or ``"app.Model"``, to the groups that ``group_names`` gives for an instance.

    ``fields`` or ``exclude`` says which of its fields clients see and may change; ``fields = "__all__"`` is all of
    them. A class with ``model = None`` in its body is abstract. Changes that send no signals, as ``QuerySet.update``
    and ``bulk_create`` make, are not noticed. Bindings made too early to know the models are registered when the apps
    are ready; raises ``ValueError`` then, or in the ``class`` statement, for one that lacks something.
    """

    model: Any = None
    stream: str | None
    fields: Any = None
    exclude: Any = None
    channel_session_user = True
    channel_session = False

    group_moves: bool = True
    """Whether groups that an update takes an instance out of, or into, are told; costs one query per update."""
    after_commit: bool = False
    """Whether messages wait for the transaction to be committed, so that who reads the database next sees it."""

    signal_kwargs: dict[str, Any] | None = None
    model_label: str

    instance: models.Model
    message: Message
    kwargs: dict[str, Any]
    user: Any

    # Registration

    @classmethod
    def register(cls) -> None:
        """Listen to the signals of the model; doing it twice does no harm."""
        for model in cls.get_registered_models():
            pre_save.connect(cls.pre_save_receiver, sender=model)
            post_save.connect(cls.post_save_receiver, sender=model)
            pre_delete.connect(cls.pre_delete_receiver, sender=model)
            post_delete.connect(cls.post_delete_receiver, sender=model)

    @classmethod
    def get_registered_models(cls) -> list[type[models.Model]]:
        """The model as a list, which is empty for an abstract binding. Raises ``ValueError``."""
        if cls.model is None:
            if "model" in cls.__dict__:
                return []
            raise ValueError(
                f"{name_that_thing(cls)} has no model: name one, or write model = None in its body if it is abstract."
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
        """Receive ``pre_save``."""
        cls.pre_change_receiver(instance, CREATE if instance._state.adding else UPDATE)

    @classmethod
    def post_save_receiver(cls, instance: models.Model, created: bool, **kwargs: Any) -> None:
        """Receive ``post_save``."""
        cls.post_change_receiver(instance, CREATE if created else UPDATE, **kwargs)

    @classmethod
    def pre_delete_receiver(cls, instance: models.Model, **kwargs: Any) -> None:
        """Receive ``pre_delete``."""
        cls.pre_change_receiver(instance, DELETE)

    @classmethod
    def post_delete_receiver(cls, instance: models.Model, **kwargs: Any) -> None:
        """Receive ``post_delete``."""
        cls.post_change_receiver(instance, DELETE, **kwargs)

    @classmethod
    def pre_change_receiver(cls, instance: models.Model, action: str) -> None:
        """Keep the groups that the instance is in before a change."""
        before = cls._before(instance, action)
        groups = set() if before is None else set(cls.group_names(before))
        vars(instance).setdefault("_binding_group_names", {})[cls] = groups

    @classmethod
    def _before(cls, instance: models.Model, action: str) -> models.Model | None:
        """The instance as it was: an update has changed the one at hand already, but not the stored row."""
        if action == CREATE:
            return None
        if action == DELETE or not cls.group_moves:
            return instance
        stored: models.Model | None = cls.model._base_manager.using(instance._state.db).filter(pk=instance.pk).first()
        return stored

    @classmethod
    def post_change_receiver(cls, instance: models.Model, action: str, **kwargs: Any) -> None:
        """Tell the groups: those it is no longer in that it is deleted, those it is new in that it is created."""
        before = vars(instance)["_binding_group_names"][cls]
        after = set() if action == DELETE else set(cls.group_names(instance))
        binding = cls()
        binding.instance = instance
        binding.send_messages(instance, before - after, DELETE, **kwargs)
        binding.send_messages(instance, before & after, UPDATE, **kwargs)
        binding.send_messages(instance, after - before, CREATE, **kwargs)

    def send_messages(self, instance: models.Model, group_names: Iterable[str], action: str, **kwargs: Any) -> None:
        """Send a change to groups, on the default layer. Nothing is sent when it is serialised to ``{}``.

        Inside a consumer messages leave when it returns, otherwise at once, unless ``after_commit``.
        """
        names = list(group_names)
        if not names:
            return
        self.signal_kwargs = kwargs
        payload = self.serialize(instance, action)
        if payload == {}:
            return
        assert self.stream is not None, f"{name_that_thing(self)} has no stream: set it to the name clients listen to."
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
        """The groups that are told about changes of ``instance``; subclasses say."""
        raise NotImplementedError(f"{name_that_thing(cls)} must define group_names(cls, instance).")

    def serialize(self, instance: models.Model, action: str) -> Any:
        """The payload that tells of a change; subclasses say."""
        raise NotImplementedError(f"{name_that_thing(self)} must define serialize(self, instance, action).")

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """The message that carries a payload; subclasses say."""
        raise NotImplementedError(f"{name_that_thing(cls)} must define encode(cls, stream, payload).")

    # From messages to the model

    @classmethod
    def consumer(cls, message: Message, **kwargs: Any) -> None:
        """Consume a message that asks for a change: for a route, or for ``consumers`` of a demultiplexer."""
        cls.get_handler()(message, **kwargs)

    @classmethod
    def get_handler(cls) -> Consumer:
        """``trigger_inbound``, decorated as the class says."""
        handler: Consumer = cls.trigger_inbound
        if cls.channel_session_user:
            return channel_session_user(handler)
        if cls.channel_session:
            return channel_session(handler)
        return handler

    @classmethod
    def trigger_inbound(cls, message: Message, **kwargs: Any) -> None:
        """Carry out the change that a message asks for, if its user may."""
        from django.contrib.auth.models import AnonymousUser  # models can be imported only once the apps are ready

        binding = cls()
        binding.message = message
        binding.kwargs = kwargs
        action, pk, data = binding.deserialize(message)
        binding.user = getattr(message, "user", None) or AnonymousUser()
        binding.run_action(action, pk, data)

    def run_action(self, action: str, pk: Any, data: Any) -> None:
        """Carry out a change if ``has_permission`` allows it, or else do nothing.

        Raises ``ValueError`` for an unknown action.
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
            raise ValueError(
                f"{name_that_thing(self)} was asked for the action {action!r}: expected {CREATE!r}, {UPDATE!r} or "
                f"{DELETE!r}."
            )

    def deserialize(self, message: Message) -> tuple[str, Any, Any]:
        """The action, the primary key and the data that a message asks for; subclasses say."""
        raise NotImplementedError(f"{name_that_thing(self)} must define deserialize(self, message).")

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        """Whether ``user`` may change what has the primary key ``pk``, or create something; subclasses say."""
        raise NotImplementedError(f"{name_that_thing(self)} must define has_permission(self, user, action, pk).")

    def create(self, data: Any) -> None:
        """Create an instance; subclasses say how."""
        raise NotImplementedError(f"{name_that_thing(self)} must define create(self, data).")

    def update(self, pk: Any, data: Any) -> None:
        """Change an instance; subclasses say how."""
        raise NotImplementedError(f"{name_that_thing(self)} must define update(self, pk, data).")

    def delete(self, pk: Any) -> None:
        """Delete an instance; no error if there is none."""
        self.model.objects.filter(pk=pk).delete()


def field_names(given: Any) -> Sequence[str] | None:
    """``fields`` or ``exclude`` as a list of names, or ``None`` for ``"__all__"``, as text or in a sequence."""
    names = [given] if isinstance(given, str) else list(given)
    return None if names == ["__all__"] else names
