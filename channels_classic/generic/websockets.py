"""Class-based consumers of WebSockets: plain frames, JSON frames, and several streams on one socket.

They consume the messages of interface servers on `websocket.connect`, `websocket.receive` and
`websocket.disconnect`, and answer on the reply channel.
"""

from __future__ import annotations

import json
import reprlib
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
    """Consumes the messages of WebSockets: override `connect`, `receive` and `disconnect`.

    `http_user` sets the user that connected on each message, `http_user_and_session` also the session of the
    browser. `strict_ordering` decorates with `enforce_ordering`. The socket is a member of `groups` while it is
    connected. If `connect` raises, it stays a member until it is closed.
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
        """Return the method for the message, decorated. Raises `KeyError` for a message without `path`."""
        if self.http_user or self.http_user_and_session:
            self.channel_session_user = True
        self.path = message["path"]
        handler = super().get_handler(message, **kwargs)
        if self.http_user_and_session:
            handler = channel_and_http_session_user_from_http(handler)
        elif self.http_user:
            handler = channel_session_user_from_http(handler)
        if self.strict_ordering:
            return enforce_ordering(handler)  # type: ignore[no-any-return]  # the decorator has two forms
        if getattr(self, "slight_ordering", False):
            raise ValueError(
                f"{name_that_thing(self)} has slight_ordering, which was removed: use strict_ordering = True."
            )
        return handler

    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        """Return the names of the socket's groups; `kwargs` are the keyword arguments of the route."""
        return self.groups or []

    def raw_connect(self, message: Message, **kwargs: Any) -> None:
        """Add the socket to its groups and call `connect`."""
        for group in self._connection_groups(message, kwargs):
            group.add(self._reply_channel)
        self.connect(message, **kwargs)

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Accept the socket. An override must accept, send or close; otherwise the handshake hangs."""
        self._reply_channel.send({"accept": True})

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Call `receive` with the frame."""
        text = message.get("text")
        if text is None:
            self.receive(bytes=message.get("bytes"), **kwargs)
        else:
            self.receive(text=text, **kwargs)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        """Consume a frame of `text` or `bytes`; the message itself is `self.message`."""

    def send(self, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:
        """Send a frame to the socket, then close it if `close` is true or a close code.

        Raises `ValueError` without `text` and `bytes`: `close()` closes the socket without a frame.
        """
        self._reply_channel.send(_frame(text, bytes, close))

    @classmethod
    def group_send(
        cls, name: str, text: str | None = None, bytes: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a frame to all sockets of a group, on the default layer. Raises `ValueError` as `send` does."""
        Group(name).send(_frame(text, bytes, close))

    def close(self, status: bool | int = True) -> None:
        """Close the socket; `status` may be a close code."""
        self._reply_channel.send({"close": status})

    def raw_disconnect(self, message: Message, **kwargs: Any) -> None:
        """Remove the socket from its groups and call `disconnect`."""
        for group in self._connection_groups(message, kwargs):
            group.discard(self._reply_channel)
        self.disconnect(message, **kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """Called when the socket is closed."""

    @property
    def _reply_channel(self) -> Channel:
        if self.message.reply_channel is None:
            raise ValueError(
                f"{name_that_thing(self)} received a message from {self.message.channel.name!r} without a "
                "reply_channel: there is no socket to answer."
            )
        return self.message.reply_channel

    def _connection_groups(self, message: Message, kwargs: dict[str, Any]) -> list[Group]:
        names = self.connection_groups(**kwargs)
        if isinstance(names, str):
            raise TypeError(
                f"The groups of {name_that_thing(self)} are the string {names!r}: expected a list of names."
            )
        return [Group(name, channel_layer=message.channel_layer) for name in names]


class JsonWebsocketConsumer(WebsocketConsumer):
    """Consumes JSON frames: `receive`, `send` and `group_send` have decoded content instead of text."""

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Call `receive` with the content of the frame.

        Raises `ValueError` for a frame without text or with text that is not JSON. The socket stays open.
        """
        text = message.get("text")
        if text is None:
            raise ValueError(f"{name_that_thing(self)} received a frame without text: expected JSON.")
        self.receive(self.decode_json(text), **kwargs)

    def receive(self, content: Any, **kwargs: Any) -> None:  # type: ignore[override]  # as in Channels 1.1.8
        """Consume the content of a frame."""

    def send(self, content: Any, close: bool | int = False) -> None:  # type: ignore[override]  # as in Channels 1.1.8
        """Send content to the socket, then close it if `close` is true or a close code."""
        super().send(text=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """Return the content of a JSON text. May be overridden. Raises `json.JSONDecodeError`, a `ValueError`."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            problem = f"{name_that_thing(cls)} received a text that is not JSON: {reason}"
            raise json.JSONDecodeError(problem, text, getattr(error, "pos", 0)) from None

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Return content as JSON. May be overridden. Raises `TypeError` for types that JSON does not have."""
        return json.dumps(content)

    @classmethod
    def group_send(cls, name: str, content: Any, close: bool | int = False) -> None:  # type: ignore[override]  # as above
        """Send content to all sockets of a group, on the default layer."""
        WebsocketConsumer.group_send(name, cls.encode_json(content), close=close)


class WebsocketMultiplexer:
    """Sends on one stream of a socket that a `WebsocketDemultiplexer` consumes.

    A frame is `{"stream": …, "payload": …}` in JSON.
    """

    def __init__(self, stream: str, reply_channel: Channel) -> None:
        self.stream = stream
        self.reply_channel = reply_channel

    def send(self, payload: Any) -> None:
        """Send a payload on the stream."""
        self.reply_channel.send(self.encode(self.stream, payload))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Return content as JSON, including dates and UUIDs. May be overridden."""
        return json.dumps(content, cls=DjangoJSONEncoder)

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """Return the message that sends a payload on a stream."""
        return {"text": cls.encode_json({"stream": stream, "payload": payload})}

    @classmethod
    def group_send(cls, name: str, stream: str, payload: Any, close: bool = False) -> None:
        """Send a payload on a stream to all sockets of a group, on the default layer."""
        message = cls.encode(stream, payload)
        if close:
            message["close"] = True
        Group(name).send(message)


class WebsocketDemultiplexer(JsonWebsocketConsumer):
    """Splits a socket into streams, each with its own consumer.

    `consumers` maps streams to class-based consumers, functions, or the `consumer` of bindings. Each is called for
    `websocket.connect` and `websocket.disconnect`, and for the frames of its stream, whose text is then the
    payload. It answers with its keyword argument `multiplexer`. All consumers receive the same message, with the
    session and user that the demultiplexer has set on it.
    """

    consumers: ClassVar[dict[str, Any]] = {}
    multiplexer_class: type[WebsocketMultiplexer] = WebsocketMultiplexer

    @classmethod
    def _ordered_streams(cls) -> list[str]:
        """Return the streams whose consumer enforces an order. A system check reports several: see `checks`."""
        return [stream for stream, consumer in cls.consumers.items() if _is_ordered(consumer)]

    @classmethod
    def _consumer_of_frame(cls, text: str) -> tuple[str, Any]:
        """Return the stream of a frame and its consumer, for the log. Raises for a frame that `receive` refuses."""
        stream = cls.decode_json(text)["stream"]
        return stream, cls.consumers[stream]

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Accept the socket and call the consumers of all streams."""
        self._reply_channel.send({"accept": True})
        self._call_all(message, kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """Call the consumers of all streams."""
        self._call_all(message, kwargs)

    def receive(self, content: Any, **kwargs: Any) -> None:  # type: ignore[override]  # as above
        """Call the consumer of a frame's stream with its payload.

        Raises `ValueError` for a frame without a stream of `consumers`, or whose payload is not a dict.
        """
        stream, payload = self._parse(content)
        frame = self.message.content["text"]
        self.message.content["text"] = self.encode_json(payload)
        try:
            self._call(stream, self.message, kwargs)
        finally:
            self.message.content["text"] = frame  # ConsumeLater puts the message back, with its stream

    def send(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `SendNotAvailableOnDemultiplexer`: use a stream."""
        raise SendNotAvailableOnDemultiplexer(_unavailable(self))

    @classmethod
    def group_send(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `SendNotAvailableOnDemultiplexer`: use `WebsocketMultiplexer.group_send`."""
        raise SendNotAvailableOnDemultiplexer(
            f"{name_that_thing(cls)} has several streams: use WebsocketMultiplexer.group_send(group, stream, payload)."
        )

    def _call_all(self, message: Message, kwargs: dict[str, Any]) -> None:
        for stream in self.consumers:
            self._call(stream, message, kwargs)

    def _call(self, stream: str, message: Message, kwargs: dict[str, Any]) -> None:
        multiplexer = self.multiplexer_class(stream, self._reply_channel)
        _multiplexed(self.consumers[stream])(message, **{**kwargs, "multiplexer": multiplexer})

    def _parse(self, content: Any) -> tuple[str, dict[str, Any]]:
        # Without the values, here and below: they end up in the log, and a frame may hold a password.
        if not isinstance(content, dict) or "stream" not in content or "payload" not in content:
            keys = f" with the keys {reprlib.repr(list(content))}" if isinstance(content, dict) else ""
            raise ValueError(
                f"{name_that_thing(self)} received JSON of type {type(content).__name__}{keys}: expected "
                '{"stream": …, "payload": …}, as WebSocketBridge sends it.'
            )
        stream, payload = content["stream"], content["payload"]
        if not isinstance(stream, str) or stream not in self.consumers:
            known = ", ".join(map(repr, self.consumers)) or "none"
            raise ValueError(f"{name_that_thing(self)} has no stream {reprlib.repr(stream)}; its streams: {known}.")
        if not isinstance(payload, dict):
            raise ValueError(
                f"{name_that_thing(self)} received a payload of type {type(payload).__name__} on stream {stream!r}: "
                "expected a dict."
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
        raise ValueError("There is nothing to send: pass text or bytes. To close without a frame, call close().")
    return message


def _is_ordered(consumer: Any) -> bool:
    """Return whether a consumer enforces ordering. The `consumer` of a binding has the attribute on its class."""
    owner = getattr(consumer, "__self__", None)
    return any(getattr(thing, "strict_ordering", False) is True for thing in (consumer, owner))


def _multiplexed(consumer: Consumer) -> Consumer:
    return _without_send(consumer) if isinstance(consumer, type) else consumer


@lru_cache(maxsize=256)
def _without_send(consumer: type) -> Callable[..., Any]:
    """Return a subclass whose instances can answer on their stream only. The class itself may have a route, too."""

    def send(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise SendNotAvailableOnDemultiplexer(_unavailable(consumer))

    return type(consumer)(
        consumer.__name__,
        (consumer,),
        {"__module__": consumer.__module__, "__qualname__": consumer.__qualname__, "send": send},
    )


def _unavailable(consumer: Any) -> str:
    return (
        f"{name_that_thing(consumer)} shares its socket with other streams: send with the keyword argument "
        "`multiplexer` of connect, receive and disconnect, as in multiplexer.send(payload)."
    )
