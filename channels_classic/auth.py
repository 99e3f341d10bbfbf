"""Decorators that attach the user to a consumer's message, from the session of the socket or of the browser.

The session of the socket keeps the user that connected, even after that user has logged out in the browser.
`channel_and_http_session_user` looks at the browser's session for each message.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from django.contrib import auth
from django.contrib.sessions.backends.base import SessionBase

from channels_classic.sessions import (
    Consumer,
    channel_and_http_session,
    channel_session,
    http_session,
    message_among,
)

__all__ = [
    "channel_and_http_session",
    "channel_and_http_session_user",
    "channel_and_http_session_user_from_http",
    "channel_session",
    "channel_session_user",
    "channel_session_user_from_http",
    "http_session",
    "http_session_user",
    "transfer_user",
]

_KEYS = (auth.BACKEND_SESSION_KEY, auth.SESSION_KEY, auth.HASH_SESSION_KEY)


def transfer_user(from_session: SessionBase, to_session: SessionBase) -> None:
    """Copy the logged-in user from one session to another, if there is one."""
    if all(key in from_session for key in _KEYS):
        for key in _KEYS:
            to_session[key] = from_session[key]


def channel_session_user(func: Consumer) -> Consumer:
    """Attach `message.channel_session` and, from it, `message.user`: anonymous until a user is copied into it.

    The user stays the same when the browser logs out, and becomes anonymous when the user is deleted or the password
    changes.
    """

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "channel_session_user")
        message.user = _user_of(message.channel_session, _ChannelSession)
        return func(*args, **kwargs)

    return channel_session(inner)


def http_session_user(func: Consumer) -> Consumer:
    """Attach `message.http_session` and, from it, `message.user`: anonymous if the message names no session."""

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "http_session_user")
        message.user = _user_of(message.http_session, _HttpSession)
        return func(*args, **kwargs)

    return http_session(inner)


def channel_and_http_session_user(func: Consumer) -> Consumer:
    """Attach both sessions and `message.user`, the user who is logged in to the browser's session now.

    Decorate the consumers of connect, receive and disconnect: connect remembers the browser's session, and later
    messages load it again, so that after a log-out the user is anonymous. A log-out cannot be noticed if the browser's
    sessions are in signed cookies, since the server keeps no copy of them.
    """

    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, "channel_and_http_session_user")
        message.user = _user_of(message.http_session, _HttpSession)
        return func(*args, **kwargs)

    return channel_and_http_session(inner)


def channel_session_user_from_http(func: Consumer) -> Consumer:
    """Attach both sessions and the browser's user, and copy that user into the channel session.

    For `websocket.connect`. Later messages of a socket name no session of a browser, so that their user would be
    anonymous: decorate their consumers with `channel_session_user`.
    """
    return http_session_user(channel_session(_transferring(func, "channel_session_user_from_http")))


def channel_and_http_session_user_from_http(func: Consumer) -> Consumer:
    """Do what `channel_session_user_from_http` does, and remember the browser's session for later messages."""
    return http_session_user(channel_and_http_session(_transferring(func, "channel_and_http_session_user_from_http")))


def _transferring(func: Consumer, decorator: str) -> Consumer:
    @functools.wraps(func)
    def inner(*args: Any, **kwargs: Any) -> Any:
        message = message_among(args, decorator)
        if message.http_session is not None:
            transfer_user(message.http_session, message.channel_session)
        return func(*args, **kwargs)

    return inner


class _ChannelSession:
    """A view of a session that keeps its key when Django verifies a user with one of `SECRET_KEY_FALLBACKS`."""

    def __init__(self, session: SessionBase) -> None:
        self._wrapped = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __getitem__(self, key: str) -> Any:
        return self._wrapped[key]

    def __contains__(self, key: object) -> bool:
        return key in self._wrapped

    def __setitem__(self, key: str, value: Any) -> None:
        self._wrapped[key] = value

    def cycle_key(self) -> None:
        """Do nothing: the key is how the next message of the socket finds the session."""


class _HttpSession(_ChannelSession):
    """The same for the browser's session, whose key is in a cookie: the next request writes the new hash."""

    def __setitem__(self, key: str, value: Any) -> None:
        pass


def _user_of(session: SessionBase | None, view: type[_ChannelSession]) -> Any:
    if session is None:
        # Imported here because models can be imported only when the apps are ready.
        from django.contrib.auth.models import AnonymousUser

        return AnonymousUser()
    return auth.get_user(SimpleNamespace(session=view(session)))  # type: ignore[arg-type]  # it reads `session` only
