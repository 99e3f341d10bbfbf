"""Decorators that give a consumer's message a session: one per socket, or the one of the browser's cookie.

And, kept in the session of the socket, the order in which its messages are consumed. The message must be among the
first two positional arguments, so that they serve functions and methods.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import signed_cookies
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from channels_classic.channel import Channel
from channels_classic.exceptions import ChannelSocketException, ConsumeLater, DenyConnection
from channels_classic.handler import AsgiRequest
from channels_classic.message import Message, pending_message_store

__all__ = [
    "channel_and_http_session",
    "channel_session",
    "enforce_ordering",
    "http_session",
    "requeue_messages",
    "session_for_reply_channel",
    "wait_channel_name",
]

logger = logging.getLogger(__name__)

Consumer = Callable[..., Any]

_NEXT_ORDER = "__channels_next_order"  # the key that Channels 1.x used in the channel session


def session_for_reply_channel(reply_channel: str) -> SessionBase:
    """The session that belongs to a reply channel, loaded; neither created nor saved.

    Its engine is the setting ``CHANNEL_SESSION_ENGINE``, or else ``SESSION_ENGINE``. Raises ``ValueError`` for signed
    cookies, which a socket has no way to set.
    """
    digest = hashlib.sha1(reply_channel.encode(), usedforsecurity=False).hexdigest()
    key = "chn" + digest[:29]
    engine = import_module(getattr(settings, "CHANNEL_SESSION_ENGINE", settings.SESSION_ENGINE))
    if engine is signed_cookies:
        raise ValueError(
            "Channel sessions cannot live in signed cookies: set CHANNEL_SESSION_ENGINE to another engine, "
            "such as 'django.contrib.sessions.backends.db'."
        )
    session: SessionBase = engine.SessionStore(session_key=key)
    session.keys()  # load, because loading a session that does not exist takes its key away …
    _set_key(session, key)  # … and the key is how the next message finds it
    return session


def channel_session(func: Consumer) -> Consumer:
    """Give the message the session of its socket, as ``message.channel_session``, and save what the consumer changes.

    It is saved also when the consumer raises. Two workers that handle messages of one socket at once overwrite each
    other's changes. Nothing deletes it at disconnect: it expires like any session. Raises ``ValueError`` for a message
    without a reply channel.
    """

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "channel_session")
        if not hasattr(message, "channel_session"):
            message.channel_session = _created_session(message)
        key = getattr(message.channel_session, "session_key", None)
        try:
            return func(*args, **kwargs)
        finally:
            _move_back(message.channel_session, key)
            _save(message.channel_session)

    return inner


def http_session(func: Consumer) -> Consumer:
    """Give the message the browser's session, as ``message.http_session``, or ``None`` if it names none.

    The key is the query parameter ``session_key`` or the session cookie, which only requests and
    ``websocket.connect`` carry. It is saved when the consumer changed it and did not raise. Raises ``ValueError`` for
    a message that no request can be made of.
    """

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "http_session")
        if hasattr(message, "http_session"):
            try:
                return func(*args, **kwargs)
            finally:
                _save(message.http_session)
        message.http_session = _http_session(_session_key(message))
        result = func(*args, **kwargs)
        # Not the one from above: `channel_and_http_session` may have found it again in the channel session.
        _save(message.http_session)
        return result

    return inner


def channel_and_http_session(func: Consumer) -> Consumer:
    """Give the message both sessions, and remember the browser's one for later messages of the socket."""

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "channel_and_http_session")
        remembered = message.channel_session.get(settings.SESSION_COOKIE_NAME)
        if message.http_session is None:
            message.http_session = _http_session(remembered)
        elif remembered is None:
            message.channel_session[settings.SESSION_COOKIE_NAME] = message.http_session.session_key
        return func(*args, **kwargs)

    return http_session(channel_session(inner))


def wait_channel_name(reply_channel: str) -> str:
    """The channel on which messages of a socket wait for those before them."""
    return "__wait__." + reply_channel.replace("!", "?")


def requeue_messages(message: Message) -> None:
    """Put everything that waits on the wait channel of the message's socket back on the channel it came from.

    Inside a consumer it goes there behind what the consumer sends, otherwise at once. Raises the layer's
    ``ChannelFull``: then the message it could not put back is lost.
    """
    reply_channel = _reply_channel(message)
    layer = reply_channel.channel_layer
    wait_channel = wait_channel_name(reply_channel.name)
    while (content := layer.receive([wait_channel], block=False)[1]) is not None:
        channel = Channel(content.pop("original_channel"), channel_layer=layer)
        if pending_message_store.active:
            pending_message_store.append(channel, content)
            continue
        try:
            channel.send(content)
        except layer.ChannelFull as error:
            raise layer.ChannelFull(
                f"A message that waited for its order is lost: its channel {channel.name!r} is full. Run more workers."
            ) from error


def enforce_ordering(
    func: Consumer | None = None, slight: bool = False, *, advance_on_error: bool = False
) -> Any:  # the decorated consumer, or a decorator
    """Let the messages of a socket be consumed one after another, in the order the interface server gave them.

    Decorate the consumers of connect, receive and disconnect, all three. A message that comes too early waits on the
    wait channel; one whose order has passed is dropped. What the consumer returns is dropped as well.

    With the interface server of this package every message comes in its turn already, and is let through. With others
    a consumer that raises keeps its socket's later messages waiting, unless ``advance_on_error`` says to go on.
    Raises ``ValueError`` for a message without ``order`` and for ``slight``, and the layer's ``ChannelFull`` when too
    many messages wait.
    """
    if slight:
        raise ValueError("enforce_ordering has no slight mode any more: remove slight=True, it is always strict.")
    if func is None:
        return functools.partial(enforce_ordering, advance_on_error=advance_on_error)
    consumer = func

    @functools.wraps(consumer)
    def inner(*args: Any, **kwargs: Any) -> None:
        message = message_among(args, "enforce_ordering")
        order = _order(message)
        next_order = message.channel_session.get(_NEXT_ORDER, 0)
        if message.in_turn or order == next_order:
            _take_turn(message, order, functools.partial(consumer, *args, **kwargs), advance_on_error)
        elif order > next_order:
            _wait(message, order)
        else:
            logger.warning(
                "A message of %s is dropped: its order %d has passed, the next one is %d.",
                message.channel.name,
                order,
                next_order,
            )

    inner.strict_ordering = True  # type: ignore[attr-defined]  # as on class-based consumers, for demultiplexers
    return channel_session(inner)


def message_among(args: tuple[Any, ...], decorator: str) -> Message:
    """The message a decorated function or method is called with. Raises ``ValueError`` if there is none."""
    for argument in args[:2]:
        if isinstance(argument, Message):
            return argument
    raise ValueError(f"{decorator} called without Message instance")


def _reply_channel(message: Message) -> Channel:
    if message.reply_channel is None:
        raise ValueError(
            f"The message from {message.channel.name!r} has no reply_channel, by which the session of its socket "
            "would be found."
        )
    return message.reply_channel


def _created_session(message: Message) -> SessionBase:
    session = session_for_reply_channel(_reply_channel(message).name)
    key = session.session_key
    if key is not None and not session.exists(key):
        try:
            session.save(must_create=True)
        except CreateError:
            # Another worker was first: come back when its session can be loaded.
            raise ConsumeLater from None
    return session


def _session_key(message: Message) -> str | None:
    """The key of the browser's session, if the message names one."""
    message.content.setdefault("method", "FAKE")  # a request needs one, a WebSocket has none
    try:
        request = AsgiRequest(message)
    except Exception as error:
        raise ValueError(
            f"No session can be found for the message from {message.channel.name!r}: {error!r}. http_session is for "
            "messages made from requests: websocket.connect and http.request."
        ) from error
    key: str | None = request.GET.get("session_key") or request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return key


def _http_session(key: str | None) -> SessionBase | None:
    if key is None:
        return None
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key=key)
    return session


def _move_back(session: SessionBase | None, key: str | None) -> None:
    """Undo the change of key that logging in makes, or flushing and setting something afterwards.

    The next message of the socket looks for the session under ``key``.
    """
    if session is None or key is None or session.session_key == key or session.is_empty():
        return
    if session.session_key is not None:
        session.delete(session.session_key)
    _set_key(session, key)
    if not session.exists(key):
        session.save(must_create=True)


def _save(session: SessionBase | None) -> None:
    # `is None`, because an empty session is falsy since Django 6.1. One that was flushed stays so.
    if session is None or not session.modified or session.is_empty():
        return
    try:
        session.save()
    except UpdateError:
        logger.warning(
            "The session %s was deleted while a consumer used it: its changes are lost.", session.session_key
        )


def _set_key(session: SessionBase, key: str) -> None:
    session._session_key = key  # Django has no public way to choose a key


def _order(message: Message) -> int:
    if "order" not in message:
        raise ValueError(
            f"The message from {message.channel.name!r} has no 'order', so enforce_ordering cannot tell when its turn "
            "is: interface servers number the messages of a WebSocket, tests do with WSClient(ordered=True)."
        )
    return int(message["order"])


def _take_turn(message: Message, order: int, consume: Callable[[], Any], advance_on_error: bool) -> None:
    try:
        consume()
    except ConsumeLater:
        raise  # it is still this message's turn
    except (DenyConnection, ChannelSocketException):
        _advance(message, order)  # not failures: the message is consumed
        raise
    except Exception:
        # Messages that come in their turn pass whatever the session says; those that overtook them must pass too.
        if advance_on_error or message.in_turn:
            _advance(message, order)
        raise
    _advance(message, order)


def _advance(message: Message, order: int) -> None:
    session = message.channel_session
    session[_NEXT_ORDER] = order + 1
    _save(session)
    session.modified = False
    requeue_messages(message)


def _wait(message: Message, order: int) -> None:
    reply_channel = _reply_channel(message)
    layer = reply_channel.channel_layer
    message.content["original_channel"] = message.channel.name
    try:
        layer.send(wait_channel_name(reply_channel.name), message.content)
    except layer.ChannelFull as error:
        raise layer.ChannelFull(
            f"The message from {message.channel.name!r} with order {order} is lost: too many of its socket wait for "
            "those before them. Does every consumer of the socket enforce_ordering, and does none fail?"
        ) from error
    # Its turn may have come while it was put there, too late for who took the turn before to see it.
    if message.channel_session.load().get(_NEXT_ORDER, 0) >= order:
        requeue_messages(message)
