"""Decorators that attach sessions to a consumer's message: the session of the socket, or that of the browser.

`enforce_ordering` keeps in the session of the socket which of its messages is the next to be consumed. All decorators
expect the message among the first two positional arguments, so that they work on functions and methods.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.contrib.sessions.backends import signed_cookies
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.http import parse_cookie
from django.utils.crypto import salted_hmac

from channels_classic._headers import header_values
from channels_classic.channel import Channel
from channels_classic.conf import CHANNEL_SESSION_ENGINE
from channels_classic.exceptions import ChannelSocketException, ConsumeLater, DenyConnection
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

logger = logging.getLogger("django.channels")

Consumer = Callable[..., Any]

_NEXT_ORDER = "__channels_next_order"  # the key that Channels 1.x used in the channel session


def session_for_reply_channel(reply_channel: str) -> SessionBase:
    """Return the session of a reply channel, loaded but neither created nor saved.

    Its engine is the setting `CHANNEL_SESSION_ENGINE`, or else `SESSION_ENGINE`. Raises `ValueError` for signed
    cookies, because a socket cannot set a cookie.

    Its key depends on `SECRET_KEY`. It may lie beside the sessions of browsers, with the same user in it: whoever
    learns the name of a reply channel, from a log or from Redis, must not be able to put the key into a cookie.
    """
    engine = import_module(CHANNEL_SESSION_ENGINE.get())
    if engine is signed_cookies:
        raise ValueError(
            "Channel sessions cannot live in signed cookies: set CHANNEL_SESSION_ENGINE to another engine, "
            "such as 'django.contrib.sessions.backends.db'."
        )
    keys = [
        _channel_session_key(reply_channel, secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    for key in keys:
        session: SessionBase = engine.SessionStore(session_key=key)
        session.keys()  # Load it now: loading a session that does not exist resets its key,
        if session.session_key is not None:
            return session
    _set_key(session, keys[0])  # by which the next message of the socket finds it.
    return session


def _channel_session_key(reply_channel: str, secret: str) -> str:
    digest = salted_hmac("channels_classic.sessions", reply_channel, secret, algorithm="sha256").hexdigest()
    return "chn" + digest[:29]


def channel_session(func: Consumer) -> Consumer:
    """Attach the session of the socket as `message.channel_session`, and save it if the consumer changed it.

    It is saved even if the consumer raises. Two workers that handle messages of one socket at the same time overwrite
    each other's changes. It is not deleted at disconnect but expires like any session. Raises `ValueError` for a
    message without a reply channel.
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
    """Attach the browser's session as `message.http_session`, or `None` if the message names no session.

    The key comes from the session cookie or, without one, from the query parameter `session_key`. Only requests and
    `websocket.connect` carry these. A key that is malformed or of no session gives an empty session. It is saved if
    the consumer changed it and did not raise. The body of a request is not read. Raises `ValueError` for a message
    without a path, which is neither a request nor a message of a socket.
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
        # Not the session from above: `channel_and_http_session` may have put the remembered one in its place.
        _save(message.http_session)
        return result

    inner.uses_http_session = True  # type: ignore[attr-defined]  # read by a system check; copied by outer decorators
    return inner


def channel_and_http_session(func: Consumer) -> Consumer:
    """Attach both sessions, and remember the browser's session for later messages of the socket.

    `message.http_session` is `None` for all messages of a socket whose handshake named no session, and a session
    for all messages of any other.
    """

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "channel_and_http_session")
        if message.http_session is None:
            message.http_session = _http_session(message.channel_session.get(settings.SESSION_COOKIE_NAME))
        _remember(message)
        result = func(*args, **kwargs)
        # The consumer may have changed the key: by logging in or out, or by using a session that did not exist.
        _save(message.http_session)
        _remember(message)
        return result

    return http_session(channel_session(inner))


def wait_channel_name(reply_channel: str) -> str:
    """Return the name of the channel on which messages of a socket wait for earlier ones."""
    return "__wait__." + reply_channel.replace("!", "?")


def requeue_messages(message: Message) -> None:
    """Return all messages on the wait channel of the message's socket to the channels they came from.

    Inside a consumer they are sent after the consumer's own messages, otherwise immediately. Raises the layer's
    `ChannelFull`; the message that could not be returned is lost then.
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
                f"Lost a message that waited for its turn: its channel {channel.name!r} is full. Run more workers."
            ) from error


def enforce_ordering(
    func: Consumer | None = None, slight: bool = False, *, advance_on_error: bool = False
) -> Any:  # the decorated consumer, or a decorator
    """Consume the messages of a socket one at a time, in the order in which the interface server numbered them.

    Decorate all three consumers: of connect, receive and disconnect. A message that arrives early waits on the wait
    channel; one whose number has passed is dropped. The return value of the consumer is dropped too.

    The interface server of this package sends each message in its turn, so that nothing has to wait. With others, a
    consumer that raises leaves the later messages of its socket waiting, unless `advance_on_error` is true. Raises
    `ValueError` for a message without `order` and for `slight`, and the layer's `ChannelFull` if too many
    messages wait.
    """
    if slight:
        raise ValueError("enforce_ordering no longer has a slight mode: remove slight=True, it is always strict.")
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
                "Dropped a message of %s: its order is %d, but the next one to be consumed is %d.",
                message.channel.name,
                order,
                next_order,
            )

    inner.strict_ordering = True  # type: ignore[attr-defined]  # as on class-based consumers, for demultiplexers
    return channel_session(inner)


def message_among(args: tuple[Any, ...], decorator: str) -> Message:
    """Return the message with which a decorated function or method is called. Raises `ValueError` without one."""
    for argument in args[:2]:
        if isinstance(argument, Message):
            return argument
    raise ValueError(f"{decorator} called without Message instance")


def uses_http_session(consumer: Any) -> bool:
    """Return whether a consumer is decorated with `http_session`; a class-based one by its attributes or methods."""
    if not isinstance(consumer, type):
        return getattr(consumer, "uses_http_session", False) is True
    if getattr(consumer, "http_user", False) or getattr(consumer, "http_user_and_session", False):
        return True
    attributes = [value for base in consumer.__mro__ for value in vars(base).values()]
    return any(getattr(value, "uses_http_session", False) is True for value in attributes)


def _reply_channel(message: Message) -> Channel:
    if message.reply_channel is None:
        raise ValueError(
            f"The message from {message.channel.name!r} has no reply_channel, by which the session of a socket "
            "is found: use the decorator for messages that interface servers send."
        )
    return message.reply_channel


def _created_session(message: Message) -> SessionBase:
    session = session_for_reply_channel(_reply_channel(message).name)
    key = session.session_key
    if key is not None and not session.exists(key):
        try:
            session.save(must_create=True)
        except CreateError:
            # Another worker has just created it: consume the message later, when that session can be loaded.
            raise ConsumeLater from None
    return session


def _session_key(message: Message) -> str | None:
    """Return the key of the browser's session, or `None` if the message names none.

    The cookie comes first, because any page can write a query parameter into the URL of a socket.
    """
    if "path" not in message:
        raise ValueError(
            f"The message from {message.channel.name!r} has no 'path', so it names no session of a browser: "
            "http_session is for consumers of http.request and websocket.connect."
        )
    message.content.setdefault("method", "FAKE")  # as in Channels 1.x, for consumers that make an AsgiRequest of it
    cookies = parse_cookie(b"; ".join(header_values(message, b"cookie")).decode("latin-1"))
    return cookies.get(settings.SESSION_COOKIE_NAME) or _query_parameters(message).get("session_key")


def _query_parameters(message: Message) -> dict[str, str]:
    # Not a QueryDict, which raises for too many parameters: a client must not be able to make consumers fail.
    query_string = message.get("query_string") or ""
    return dict(parse_qsl(query_string.decode("latin-1") if isinstance(query_string, bytes) else query_string))


def _http_session(key: str | None) -> SessionBase | None:
    """Return the session with this key, not yet loaded: an empty one for a malformed key, `None` without a key."""
    if key is None:
        return None
    # Some databases raise for other characters, which no key of Django has.
    valid_key = key if key.isascii() and key.isprintable() else None
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key=valid_key)
    return session


def _remember(message: Message) -> None:
    """Keep the key of the browser's session in that of the socket: `""` for a session without a key."""
    if message.http_session is None:
        return
    key = message.http_session.session_key or ""
    if message.channel_session.get(settings.SESSION_COOKIE_NAME) != key:
        message.channel_session[settings.SESSION_COOKIE_NAME] = key


def _move_back(session: SessionBase | None, key: str | None) -> None:
    """Store the session under `key` again, where the next message of the socket looks for it.

    Logging in changes the key of a session, and so does setting something after a flush.
    """
    if session is None or key is None or session.session_key == key or session.is_empty():
        return
    if session.session_key is not None:
        session.delete(session.session_key)
    _set_key(session, key)
    if not session.exists(key):
        session.save(must_create=True)


def _save(session: SessionBase | None) -> None:
    # `is None`, because an empty session is falsy since Django 6.1. A flushed session is not created again.
    if session is None or not session.modified or session.is_empty():
        return
    try:
        session.save()
    except UpdateError:
        # Without the key: whoever reads a key in a log can use that session.
        logger.warning("A session was deleted while a consumer used it: the changes of the consumer are lost.")
    session.modified = False


def _set_key(session: SessionBase, key: str) -> None:
    session._session_key = key  # Django has no public way to choose a key


def _order(message: Message) -> int:
    if "order" not in message:
        raise ValueError(
            f"The message from {message.channel.name!r} has no 'order', which enforce_ordering needs: interface "
            "servers number the messages of a WebSocket; in tests use WSClient(ordered=True)."
        )
    return int(message["order"])


def _take_turn(message: Message, order: int, consume: Callable[[], Any], advance_on_error: bool) -> None:
    try:
        consume()
    except ConsumeLater:
        raise  # It is still the turn of this message.
    except (DenyConnection, ChannelSocketException):
        _advance(message, order)  # These are not failures: the message is consumed.
        raise
    except Exception:
        # A message in its turn is consumed whatever number the session holds. Messages that wait for that number, since
        # they came another way, would wait forever if it did not advance.
        if advance_on_error or message.in_turn:
            _advance(message, order)
        raise
    _advance(message, order)


def _advance(message: Message, order: int) -> None:
    session = message.channel_session
    session[_NEXT_ORDER] = order + 1
    _save(session)
    requeue_messages(message)


def _wait(message: Message, order: int) -> None:
    reply_channel = _reply_channel(message)
    layer = reply_channel.channel_layer
    message.content["original_channel"] = message.channel.name
    try:
        layer.send(wait_channel_name(reply_channel.name), message.content)
    except layer.ChannelFull as error:
        raise layer.ChannelFull(
            f"The message from {message.channel.name!r} with order {order} is lost: too many messages of its socket "
            "wait for earlier ones. Check that every consumer of the socket has enforce_ordering and that none fails."
        ) from error
    # Its turn may have come meanwhile: the consumer of the message before it may have looked at the wait channel just
    # before this message arrived there, and nobody would look again.
    if message.channel_session.load().get(_NEXT_ORDER, 0) >= order:
        requeue_messages(message)
