"""Class-based consumers, which have a method for each of their channels.

The class is the consumer of a route. The worker creates an instance of it for each message.
"""

from __future__ import annotations

from typing import Any, ClassVar

from channels_classic.auth import channel_session, channel_session_user
from channels_classic.message import Message
from channels_classic.routing import RouteClass, route_class
from channels_classic.sessions import Consumer

__all__ = ["BaseConsumer"]


class BaseConsumer:
    """A class-based consumer. Creating an instance consumes the message, with the keyword arguments of the route.

    `method_mapping` maps each channel to the name of a method, which is called with `(message, **kwargs)`.
    `channel_session` and `channel_session_user` apply the decorators of the same name.
    """

    method_mapping: ClassVar[dict[str, str]] = {}
    channel_session = False
    channel_session_user = False

    def __init__(self, message: Message, **kwargs: Any) -> None:
        self.message = message
        self.kwargs = kwargs
        self.dispatch(message, **kwargs)

    @classmethod
    def channel_names(cls) -> set[str]:
        """Return the channels of this consumer."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: dict[str, Any] | None = None, **kwargs: Any) -> RouteClass:
        """Return a route to this consumer; `kwargs` are its filters.

        With `attrs`, the consumer of the route is a subclass with these attributes.
        """
        consumer = cls
        if attrs:
            if not isinstance(attrs, dict):
                raise AssertionError(
                    f"as_route takes a dict of class attributes, not {attrs!r}. Pass filters as keyword arguments."
                )
            consumer = type(cls.__name__, (cls,), {"__module__": cls.__module__, **attrs})
        return route_class(consumer, **kwargs)

    def get_handler(self, message: Message, **kwargs: Any) -> Consumer:
        """Return the method of the channel, decorated. It is called with `(message, **kwargs)`.

        Override it to apply further decorators. Raises `KeyError` for a channel without a method.
        """
        handler: Consumer = getattr(self, self.method_mapping[message.channel.name])
        if self.channel_session_user:
            return channel_session_user(handler)
        if self.channel_session:
            return channel_session(handler)
        return handler

    def dispatch(self, message: Message, **kwargs: Any) -> Any:
        """Call the method of the message's channel and return its result."""
        return self.get_handler(message, **kwargs)(message, **kwargs)
