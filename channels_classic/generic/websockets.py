"""Class-based consumers of WebSockets: frames as they are, frames of JSON, and several streams in one socket.

They consume what interface servers send on ``websocket.connect``, ``websocket.receive`` and ``websocket.disconnect``,
and answer on the reply channel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, NoReturn

from django.core.serializers.json import DjangoJSONEncoder

from channels_classic.auth import channel_and_http_session_user_from_http, channel_session_user_from_http
from channels_classic.channel import Channel, Group
from channels_classic.exceptions import SendNotAvailableOnDemultiplexer
from channels_classic.generic.base import BaseConsumer
from channels_classic.message import Message
from channels_classic.sessions import Consumer, enforce_ordering
from channels_classic.utils import name_that_thing

__all__ = [
    "DjangoJSONEncoder",
    "JsonWebsocketConsumer",
    "WebsocketConsumer",
    "WebsocketDemultiplexer",
    "WebsocketMultiplexer",
    "json",
]


class WebsocketConsumer(BaseConsumer):
    """Consumes the messages of WebSockets: override ``connect``, ``receive`` and ``disconnect``.

    ``http_user`` gives messages the user that connected, ``http_user_and_session`` the session of the browser too;
    ``strict_ordering`` decorates with ``enforce_ordering``; the socket is in the groups called ``groups`` while it is
    connected. When ``connect`` raises, it stays in them until it is closed.
    """

    method_mapping: ClassVar[dict[str, str]] = {
        "websocket.connect": "raw_connect",
        "websocket.receive": "raw_receive",
        "websocket.disconnect": "raw_disconnect",
    }

    http_user = False
    http_user_and_session = False
    strict_ordering = False
    groups: Iterable[str] | None = None

    path: str

    def get_handler(self, message: Message, **kwargs: Any) -> Consumer:
        """As in ``BaseConsumer``. Raises ``KeyError`` for a message without ``path``."""
        if self.http_user or self.http_user_and_session:
            self.channel_session_user = True
        self.path = message["path"]
        handler = super().get_handler(message, **kwargs)
        if self.http_user_and_session:
            handler = channel_and_http_session_user_from_http(handler)
        elif self.http_user:
            handler = channel_session_user_from_http(handler)
        if self.strict_ordering:
            return enforce_ordering(handler)  # type: ignore[no-any-return]  # it is a decorator of two forms
        if getattr(self, "slight_ordering", False):
            raise ValueError(
                f"{name_that_thing(self)} has slight_ordering, which is no more: use strict_ordering = True."
            )
        return handler

    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        """The names of the groups that the socket is in while it is connected; ``kwargs`` are those of the route."""
        return self.groups or []

    def raw_connect(self, message: Message, **kwargs: Any) -> None:
        """Add the socket to its groups and call ``connect``."""
        for group in self._connection_groups(message, kwargs):
            group.add(self._reply_channel)
        self.connect(message, **kwargs)

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Accept the socket. Who overrides this must accept, send or close, or else the handshake hangs."""
        self._reply_channel.send({"accept": True})

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Call ``receive`` with the frame."""
        text = message.get("text")
        if text is None:
            self.receive(bytes=message.get("bytes"), **kwargs)
        else:
            self.receive(text=text, **kwargs)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        """Consume a frame of ``text`` or ``bytes``; the message itself is ``self.message``."""

    def send(self, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:
        """Send a frame to the socket, and then close it if told to, with a code or without.

        Raises ``ValueError`` when there is no frame: ``close()`` closes without one.
        """
        self._reply_channel.send(_frame(text, bytes, close))

    @classmethod
    def group_send(
        cls, name: str, text: str | None = None, bytes: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a frame to all sockets of a group, on the default layer. Raises as ``send`` does."""
        Group(name).send(_frame(text, bytes, close))

    def close(self, status: bool | int = True) -> None:
        """Close the socket, with a code or without."""
        self._reply_channel.send({"close": status})

    def raw_disconnect(self, message: Message, **kwargs: Any) -> None:
        """Take the socket out of its groups and call ``disconnect``."""
        for group in self._connection_groups(message, kwargs):
            group.discard(self._reply_channel)
        self.disconnect(message, **kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """Take note that the socket is closed."""

    @property
    def _reply_channel(self) -> Channel:
        if self.message.reply_channel is None:
            raise ValueError(
                f"{name_that_thing(self)} was given a message from {self.message.channel.name!r} that has no "
                "reply_channel, so it belongs to no socket."
            )
        return self.message.reply_channel

    def _connection_groups(self, message: Message, kwargs: dict[str, Any]) -> list[Group]:
        names = self.connection_groups(**kwargs)
        if isinstance(names, str):
            raise TypeError(f"The groups of {name_that_thing(self)} are the text {names!r}: give a list of names.")
        return [Group(name, channel_layer=message.channel_layer) for name in names]


class JsonWebsocketConsumer(WebsocketConsumer):
    """Consumes frames of JSON: ``receive``, ``send`` and ``group_send`` take and give what the text stands for."""

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Call ``receive`` with the content of the frame.

        Raises ``ValueError`` for a frame without text or with text that is no JSON; the socket stays open.
        """
        text = message.get("text")
        if text is None:
            raise ValueError(f"{name_that_thing(self)} was sent a frame without text, which cannot be JSON.")
        self.receive(self.decode_json(text), **kwargs)

    def receive(self, content: Any, **kwargs: Any) -> None:  # type: ignore[override]  # as in Channels 1.1.8
        """Consume the content of a frame."""

    def send(self, content: Any, close: bool | int = False) -> None:  # type: ignore[override]  # as in Channels 1.1.8
        """Send content to the socket, and then close it if told to."""
        super().send(text=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """What ``text`` stands for; to be overridden. Raises ``json.JSONDecodeError``, a ``ValueError``."""
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            problem = f"{name_that_thing(cls)} was sent a text that is no JSON: {error.msg}"
            raise json.JSONDecodeError(problem, error.doc, error.pos) from None

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """The text that stands for ``content``; to be overridden. Raises ``TypeError`` for what JSON does not know."""
        return json.dumps(content)

    @classmethod
    def group_send(cls, name: str, content: Any, close: bool | int = False) -> None:  # type: ignore[override]  # as above
        """Send content to all sockets of a group, on the default layer."""
        WebsocketConsumer.group_send(name, cls.encode_json(content), close=close)


class WebsocketMultiplexer:
    """Sends on one stream of a socket that a ``WebsocketDemultiplexer`` consumes.

    A frame is ``{"stream": …, "payload": …}`` in JSON.
    """

    def __init__(self, stream: str, reply_channel: Channel) -> None:
        self.stream = stream
        self.reply_channel = reply_channel

    def send(self, payload: Any) -> None:
        """Send a payload on the stream."""
        self.reply_channel.send(self.encode(self.stream, payload))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """The text that stands for ``content``, dates and UUIDs included; to be overridden."""
        return json.dumps(content, cls=DjangoJSONEncoder)

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """The message that sends a payload on a stream."""
        return {"text": cls.encode_json({"stream": stream, "payload": payload})}

    @classmethod
    def group_send(cls, name: str, stream: str, payload: Any, close: bool = False) -> None:
        """Send a payload on a stream to all sockets of a group, on the default layer."""
        message = cls.encode(stream, payload)
        if close:
            message["close"] = True
        Group(name).send(message)


class WebsocketDemultiplexer(JsonWebsocketConsumer):
    """Splits a socket into streams, each with a consumer of its own.

    ``consumers`` maps streams to class-based consumers, functions, or the ``consumer`` of bindings. Each is called for
    ``websocket.connect`` and ``websocket.disconnect``, and for the frames of its stream, with the payload as the text
    and with a keyword argument ``multiplexer`` on which it answers. All see the same message, so the session and user
    that the demultiplexer gives it are theirs too.
    """

    consumers: ClassVar[dict[str, Any]] = {}
    multiplexer_class: type[WebsocketMultiplexer] = WebsocketMultiplexer

    @classmethod
    def _ordered_streams(cls) -> list[str]:
        """Return the streams whose consumer enforces an order. A system check reports several: see `checks`."""
        return [stream for stream, consumer in cls.consumers.items() if _is_ordered(consumer)]

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Accept the socket and tell the consumers of all streams."""
        self._reply_channel.send({"accept": True})
        self._tell_all(message, kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """Tell the consumers of all streams."""
        self._tell_all(message, kwargs)

    def receive(self, content: Any, **kwargs: Any) -> None:  # type: ignore[override]  # as above
        """Give the payload of a frame to the consumer of its stream.

        Raises ``ValueError`` for a frame that names no stream of ``consumers`` or whose payload is no dict.
        """
        stream, payload = self._opened(content)
        frame = self.message.content["text"]
        self.message.content["text"] = self.encode_json(payload)
        try:
            self._tell(stream, self.message, kwargs)
        finally:
            self.message.content["text"] = frame  # a message that is put back must name its stream again

    def send(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise ``SendNotAvailableOnDemultiplexer``: only streams can be sent on."""
        raise SendNotAvailableOnDemultiplexer(_unavailable(self))

    @classmethod
    def group_send(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise ``SendNotAvailableOnDemultiplexer``: use ``WebsocketMultiplexer.group_send``."""
        raise SendNotAvailableOnDemultiplexer(
            f"{name_that_thing(cls)} has several streams: use WebsocketMultiplexer.group_send(group, stream, payload)."
        )

    def _tell_all(self, message: Message, kwargs: dict[str, Any]) -> None:
        for stream in self.consumers:
            self._tell(stream, message, kwargs)

    def _tell(self, stream: str, message: Message, kwargs: dict[str, Any]) -> None:
        multiplexer = self.multiplexer_class(stream, self._reply_channel)
        _multiplexed(self.consumers[stream])(message, **{**kwargs, "multiplexer": multiplexer})

    def _opened(self, content: Any) -> tuple[str, dict[str, Any]]:
        if not isinstance(content, dict) or "stream" not in content or "payload" not in content:
            raise ValueError(
                f'{name_that_thing(self)} was sent {content!r}: expected {{"stream": …, "payload": …}}, as '
                "WebSocketBridge sends it."
            )
        stream, payload = content["stream"], content["payload"]
        if not isinstance(stream, str) or stream not in self.consumers:
            known = ", ".join(map(repr, self.consumers)) or "none"
            raise ValueError(f"{name_that_thing(self)} has no stream {stream!r}; its streams: {known}.")
        if not isinstance(payload, dict):
            raise ValueError(
                f"{name_that_thing(self)} was sent the payload {payload!r} on stream {stream!r}: expected a dict."
            )
        return stream, payload


def _frame(text: str | None, data: bytes | None, close: bool | int) -> dict[str, Any]:
    message: dict[str, Any] = {}
    if close:
        message["close"] = close
    if text is not None:
        message["text"] = text
    elif data is not None:
        message["bytes"] = data
    else:
        raise ValueError("There is nothing to send: give text or bytes; to close without a frame, call close().")
    return message


def _is_ordered(consumer: Any) -> bool:
    """Whether a consumer enforces an order: a class or decorated function says so itself, a binding by its class."""
    return any(
        getattr(said, "strict_ordering", False) is True for said in (consumer, getattr(consumer, "__self__", None))
    )


def _multiplexed(consumer: Consumer) -> Consumer:
    return _without_send(consumer) if isinstance(consumer, type) else consumer


@lru_cache(maxsize=256)
def _without_send(consumer: type) -> Callable[..., Any]:
    """A class like ``consumer`` whose instances answer on their stream only; the class itself may be routed too."""

    def send(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise SendNotAvailableOnDemultiplexer(_unavailable(consumer))

    return type(consumer)(
        consumer.__name__,
        (consumer,),
        {"__module__": consumer.__module__, "__qualname__": consumer.__qualname__, "send": send},
    )


def _unavailable(consumer: Any) -> str:
    return (
        f"{name_that_thing(consumer)} shares its socket with other streams: send on one with the keyword argument "
        "`multiplexer` of connect, receive and disconnect: multiplexer.send(payload)."
    )
