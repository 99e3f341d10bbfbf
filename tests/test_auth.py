"""The user of a session, in consumers of requests and of WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import auth as django_auth
from django.contrib.auth.models import User

from channels_classic import auth
from channels_classic.auth import (
    channel_and_http_session,
    channel_and_http_session_user,
    channel_and_http_session_user_from_http,
    channel_session_user,
    channel_session_user_from_http,
    http_session_user,
    transfer_user,
)
from channels_classic.message import Message
from channels_classic.sessions import session_for_reply_channel

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

REPLY = "test-reply!b"


@pytest.fixture
def user() -> User:
    created: User = User.objects.create_user("somebody", password="secret")
    return created


def message(session: Any = None, **content: Any) -> Message:
    """A message of a socket; one with a session is the first, which has the headers."""
    if session is not None:
        content["headers"] = [(b"cookie", f"sessionid={session.session_key}".encode())]
    return Message({"reply_channel": REPLY, "path": "/", **content}, "websocket.connect", "a layer")


def logged_in(user: User) -> Any:
    session = store()
    request = SimpleNamespace(session=session, META={}, user=None)
    django_auth.login(request, user)  # type: ignore[arg-type]
    session.save()
    return session


def store(key: str | None = None) -> Any:
    from django.conf import settings

    return import_module(settings.SESSION_ENGINE).SessionStore(session_key=key)


def seen_by(decorator: Callable[..., Any], message: Message) -> Message:
    decorator(lambda message: None)(message)
    return message


def test_the_session_decorators_can_be_imported_from_here() -> None:
    for name in ("channel_session", "http_session", "channel_and_http_session"):
        assert name in auth.__all__


def test_a_user_is_transferred_only_as_a_whole(user: User) -> None:
    session = logged_in(user)
    to = session_for_reply_channel(REPLY)
    transfer_user(session, to)
    assert {key: to[key] for key in auth._KEYS} == {key: session[key] for key in auth._KEYS}
    del session[django_auth.HASH_SESSION_KEY]
    other: Any = {}
    transfer_user(session, other)
    assert other == {}


# What each decorator gives, on the first message of a socket and on later ones


def test_http_session_user_gives_the_browsers_user_on_connect_only(user: User) -> None:
    first = seen_by(http_session_user, message(logged_in(user)))
    assert first.user == user
    assert first.http_session is not None
    later = seen_by(http_session_user, message())
    assert later.user.is_anonymous
    assert later.http_session is None


def test_channel_session_user_from_http_copies_the_user_and_is_anonymous_later(user: User) -> None:
    first = seen_by(channel_session_user_from_http, message(logged_in(user)))
    assert first.user == user
    assert first.channel_session[django_auth.SESSION_KEY] == str(user.pk)
    later = seen_by(channel_session_user_from_http, message())
    assert later.user.is_anonymous
    assert later.channel_session[django_auth.SESSION_KEY] == str(user.pk)


def test_channel_session_user_gives_the_user_that_was_copied(user: User) -> None:
    assert seen_by(channel_session_user, message(logged_in(user))).user.is_anonymous
    seen_by(channel_session_user_from_http, message(logged_in(user)))
    assert seen_by(channel_session_user, message()).user == user


def test_both_sessions_are_there_later_but_the_user_is_not(user: User) -> None:
    session = logged_in(user)
    first = seen_by(channel_and_http_session_user_from_http, message(session))
    assert first.user == user
    later = seen_by(channel_and_http_session_user_from_http, message())
    assert later.http_session.session_key == session.session_key
    assert later.user.is_anonymous


def test_a_message_without_channel_session_has_an_anonymous_user() -> None:
    opened = message()
    opened.channel_session = None
    assert seen_by(channel_session_user, opened).user.is_anonymous


@pytest.mark.parametrize(
    "decorator",
    [
        http_session_user,
        channel_and_http_session_user,
        channel_session_user,
        channel_session_user_from_http,
        channel_and_http_session_user_from_http,
    ],
)
def test_methods_are_decorated_too_and_a_message_must_be_there(decorator: Callable[..., Any]) -> None:
    class Consumer:
        def receive(self, message: Message, **kwargs: Any) -> Any:
            return message.user, kwargs

    decorated = decorator(Consumer.receive)
    user, kwargs = decorated(Consumer(), message(), slug="x")
    assert user.is_anonymous
    assert kwargs == {"slug": "x"}
    assert decorated.__name__ == "receive"
    with pytest.raises(ValueError, match="called without Message instance"):
        decorated(Consumer(), "no message")


def test_channel_and_http_session_user_gives_the_browsers_user_for_every_message(user: User) -> None:
    session = logged_in(user)
    for opened in (message(session), message(), message()):
        seen = seen_by(channel_and_http_session_user, opened)
        assert seen.user == user
        assert seen.http_session.session_key == session.session_key
        assert django_auth.SESSION_KEY not in seen.channel_session


@pytest.mark.parametrize("decorator", [channel_and_http_session_user_from_http, channel_and_http_session])
def test_it_finds_the_session_that_another_decorator_remembered(user: User, decorator: Callable[..., Any]) -> None:
    seen_by(decorator, message(logged_in(user)))
    assert seen_by(channel_and_http_session_user, message()).user == user


def test_without_a_remembered_session_it_gives_nobody(user: User) -> None:
    seen_by(channel_session_user_from_http, message(logged_in(user)))
    assert seen_by(channel_and_http_session_user, message()).user.is_anonymous


# After a log-out


def log_out(session: Any) -> None:
    request = SimpleNamespace(session=session, META={}, user=None)
    django_auth.logout(request)  # type: ignore[arg-type]


def test_a_log_out_is_noticed_by_the_decorator_that_looks_at_the_browsers_session_only(user: User) -> None:
    session = logged_in(user)
    seen_by(channel_and_http_session_user_from_http, message(session))
    log_out(session)
    assert seen_by(channel_session_user, message()).user == user
    assert seen_by(channel_and_http_session_user, message()).user.is_anonymous


@pytest.mark.parametrize("log_in_again", ["somebody", "another"])
def test_who_logs_in_afterwards_is_not_taken_for_the_owner_of_the_socket(user: User, log_in_again: str) -> None:
    session = logged_in(user)
    seen_by(channel_and_http_session_user, message(session))
    log_out(session)
    other = User.objects.get_or_create(username=log_in_again)[0]
    django_auth.login(SimpleNamespace(session=session, META={}, user=None), other)  # type: ignore[arg-type]
    session.save()
    assert seen_by(channel_and_http_session_user, message()).user.is_anonymous


def test_an_expired_session_is_noticed(user: User) -> None:
    session = logged_in(user)
    seen_by(channel_and_http_session_user, message(session))
    session.set_expiry(-1)
    session.save()
    assert seen_by(channel_and_http_session_user, message()).user.is_anonymous


def test_a_changed_password_is_noticed(user: User) -> None:
    seen_by(channel_and_http_session_user, message(logged_in(user)))
    user.set_password("other")
    user.save()
    assert seen_by(channel_and_http_session_user, message()).user.is_anonymous


# Users that are no longer who they were


def test_a_deleted_user_and_a_backend_that_is_gone_are_anonymous(user: User, settings: Settings) -> None:
    seen_by(channel_session_user_from_http, message(logged_in(user)))
    settings.AUTHENTICATION_BACKENDS = []
    assert seen_by(channel_session_user, message()).user.is_anonymous
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert seen_by(channel_session_user, message()).user == user
    user.delete()
    assert seen_by(channel_session_user, message()).user.is_anonymous


def test_a_changed_password_makes_the_socket_anonymous_and_flushes_its_session(user: User) -> None:
    seen_by(channel_session_user_from_http, message(logged_in(user)))
    user.set_password("other")
    user.save()
    assert seen_by(channel_session_user, message()).user.is_anonymous
    assert django_auth.SESSION_KEY not in session_for_reply_channel(REPLY)


@pytest.fixture
def rotate(settings: Settings) -> Callable[[], None]:
    def rotated() -> None:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "a newer key"

    return rotated


def test_a_rotated_secret_key_breaks_no_channel_session(user: User, rotate: Callable[[], None]) -> None:
    seen_by(channel_session_user_from_http, message(logged_in(user)))
    before = session_for_reply_channel(REPLY)[django_auth.HASH_SESSION_KEY]
    rotate()
    assert seen_by(channel_session_user, message()).user == user
    after = session_for_reply_channel(REPLY)
    assert after[django_auth.HASH_SESSION_KEY] != before
    assert after[django_auth.SESSION_KEY] == str(user.pk)


def test_a_rotated_secret_key_does_not_log_the_browser_out(user: User, rotate: Callable[[], None]) -> None:
    session = logged_in(user)
    rotate()
    assert seen_by(channel_session_user_from_http, message(session)).user == user
    kept = store(session.session_key)
    assert kept[django_auth.SESSION_KEY] == str(user.pk)
    assert kept[django_auth.HASH_SESSION_KEY] == session[django_auth.HASH_SESSION_KEY]
    assert seen_by(channel_session_user, message()).user == user
