"""Sessions of channels and of requests."""

from __future__ import annotations

import http.client
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.models import Session

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.auth import channel_session_user_from_http
from channels_classic.exceptions import ConsumeLater
from channels_classic.handler import AsgiRequest
from channels_classic.message import Message
from channels_classic.sessions import (
    channel_and_http_session,
    channel_session,
    http_session,
    session_for_reply_channel,
)
from tests.support.own_project import HOST, own_project

if TYPE_CHECKING:
    from pytest_django import Settings

DB = "django.contrib.sessions.backends.db"
CACHE = "django.contrib.sessions.backends.cache"


@pytest.fixture(autouse=True)
def engine(settings: Settings) -> Settings:
    from django.core.cache import cache

    cache.clear()
    settings.SESSION_ENGINE = CACHE
    return settings


def message(**content: Any) -> Message:
    content = {"reply_channel": "test-reply!b", "path": "/", **content}
    return Message(content, "test", "a layer")


def browser_session(engine: str = CACHE) -> Any:
    session = import_module(engine).SessionStore()
    session["species"] = "horse"
    session.save()
    return session


def cookie(session: Any) -> dict[str, Any]:
    return {"headers": {"host": b"example.com", "cookie": f"sessionid={session.session_key}".encode()}}


class Consumers:
    """Decorated methods, as class-based consumers have them."""

    @channel_session
    def once(self, message: Message) -> str:
        message.channel_session["num"] = 1
        return "result"

    @channel_session
    @channel_session
    def twice(self, message: Message) -> None:
        message.channel_session["num"] = 2

    @http_session
    def http(self, message: Message) -> Any:
        return message.http_session


# session_for_reply_channel


def test_a_reply_channel_finds_its_session_again() -> None:
    first = session_for_reply_channel("test-reply")
    first["num"] = 1
    first.save(must_create=True)
    assert session_for_reply_channel("test-reply")["num"] == 1
    assert session_for_reply_channel("other-reply").get("num") is None


def test_the_key_of_a_channel_session_comes_from_the_reply_channel_and_a_secret(settings: Settings) -> None:
    key = session_for_reply_channel("test-reply!b").session_key
    assert key is not None
    assert len(key) == 32
    assert session_for_reply_channel("test-reply!b").session_key == key
    assert session_for_reply_channel("test-reply!c").session_key != key
    settings.SECRET_KEY = "another"
    assert session_for_reply_channel("test-reply!b").session_key != key


def test_a_channel_session_is_found_while_the_secret_is_rotated(settings: Settings) -> None:
    session_for_reply_channel("test-reply").save(must_create=True)
    key = session_for_reply_channel("test-reply").session_key
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert session_for_reply_channel("test-reply").session_key == key
    assert session_for_reply_channel("other-reply").session_key != key


def test_looking_for_a_session_does_not_create_it() -> None:
    session = session_for_reply_channel("test-reply")
    assert not session.exists(session.session_key)  # type: ignore[arg-type]


def test_channel_sessions_have_an_engine_of_their_own_and_signed_cookies_cannot_be_it(engine: Settings) -> None:
    engine.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    with pytest.raises(ValueError, match="CHANNEL_SESSION_ENGINE"):
        session_for_reply_channel("test-reply")
    engine.CHANNEL_SESSION_ENGINE = CACHE
    assert type(session_for_reply_channel("test-reply")).__module__ == CACHE


# channel_session


def test_what_a_function_or_method_sets_is_there_for_the_next_message() -> None:
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session["num"] = message.channel_session.get("num", 0) + 1

    consumer(message())
    consumer(message())
    assert session_for_reply_channel("test-reply!b")["num"] == 2
    assert Consumers().once(message()) == "result"
    assert session_for_reply_channel("test-reply!b")["num"] == 1


def test_decorating_twice_does_no_harm() -> None:
    @channel_session
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session["num"] = 1

    consumer(message())
    assert session_for_reply_channel("test-reply!b")["num"] == 1
    Consumers().twice(message())
    assert session_for_reply_channel("test-reply!b")["num"] == 2


@pytest.mark.parametrize("reply_channel", ["test-reply!b", None])
@pytest.mark.parametrize("method", ["once", "twice"])
def test_the_message_must_be_among_the_first_two_arguments(reply_channel: str | None, method: str) -> None:
    with pytest.raises(ValueError, match=r"^channel_session called without Message instance$"):
        getattr(Consumers(), method)("one too many", message(reply_channel=reply_channel))


def test_a_message_without_reply_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="reply_channel"):
        Consumers().once(message(reply_channel=None))
    with pytest.raises(ValueError, match="'test' has no reply_channel"):
        channel_session(lambda message: None)(message(reply_channel=None))


def test_changes_are_saved_when_the_consumer_raises() -> None:
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session["num"] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consumer(message())
    assert session_for_reply_channel("test-reply!b")["num"] == 1


def test_changes_inside_a_value_are_not_noticed() -> None:
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session.setdefault("list", [])

    @channel_session
    def appending(message: Message) -> None:
        message.channel_session["list"].append(1)

    consumer(message())
    appending(message())
    assert session_for_reply_channel("test-reply!b")["list"] == []


def test_a_worker_that_loses_the_race_to_create_the_session_consumes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    session_for_reply_channel("test-reply!b").save(must_create=True)
    store = import_module(CACHE).SessionStore
    monkeypatch.setattr(store, "exists", lambda self, key: False)
    with pytest.raises(ConsumeLater):
        Consumers().once(message())


def test_a_flushed_session_stays_flushed() -> None:
    @channel_session
    @channel_session
    def consumer(message: Message) -> None:
        message.channel_session["num"] = 1
        message.channel_session.flush()

    session_for_reply_channel("test-reply!b").save(must_create=True)
    consumer(message())
    session = session_for_reply_channel("test-reply!b")
    assert not session.exists(session.session_key)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["flush", "cycle_key"])
def test_a_session_whose_key_changed_is_found_again_under_the_key_of_its_socket(change: str) -> None:
    @channel_session
    @channel_session
    def consumer(message: Message) -> Any:
        getattr(message.channel_session, change)()
        message.channel_session["num"] = 1
        return message.channel_session

    session = consumer(message())
    assert session_for_reply_channel("test-reply!b")["num"] == 1
    assert session.session_key == session_for_reply_channel("test-reply!b").session_key


@pytest.mark.django_db
def test_the_first_message_costs_three_queries_and_later_ones_two(
    engine: Settings, django_assert_num_queries: Any
) -> None:
    engine.SESSION_ENGINE = DB

    @channel_session
    def consumer(message: Message, **kwargs: Any) -> None:
        for key, value in kwargs.items():
            message.channel_session[key] = value

    # … and the savepoints of the INSERT and UPDATE
    with django_assert_num_queries(2 + 3):
        consumer(message())
    with django_assert_num_queries(2):
        consumer(message())
    with django_assert_num_queries(2 + 3):
        consumer(message(), num=1)


@pytest.mark.django_db
def test_a_session_deleted_meanwhile_is_logged_and_spares_the_consumer(
    engine: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engine.SESSION_ENGINE = DB

    @channel_session
    def consumer(message: Message) -> str:
        Session.objects.all().delete()
        message.channel_session["num"] = 1
        return "result"

    assert consumer(message()) == "result"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


# http_session


def test_the_browsers_session_is_found_by_its_cookie_and_saved() -> None:
    @http_session
    @http_session
    def consumer(message: Message) -> None:
        assert message.http_session["species"] == "horse"
        message.http_session["species"] = "pony"

    session = browser_session()
    opened = Message({**message().content, **cookie(session)}, "test", "a layer")
    consumer(opened)
    assert import_module(CACHE).SessionStore(session_key=session.session_key)["species"] == "pony"


def test_the_browsers_session_works_without_a_layer(default_layer: Any) -> None:
    content = {"path": "/", **cookie(browser_session())}
    assert Consumers().http(Message(content, "test", None))["species"] == "horse"


def query(session: Any) -> bytes:
    return f"session_key={session.session_key}".encode()


def test_a_query_parameter_names_the_session_where_no_cookie_does() -> None:
    session = browser_session()
    assert Consumers().http(message(query_string=query(session))).session_key == session.session_key
    assert Consumers().http(message(query_string=query(session).decode())).session_key == session.session_key
    no_session = {"headers": {"cookie": b"theme=dark; sessionid="}}
    assert Consumers().http(message(query_string=query(session), **no_session)).session_key == session.session_key


def test_the_cookie_wins_over_the_query_parameter_which_any_page_can_write() -> None:
    mine, attackers = browser_session(), browser_session()
    assert Consumers().http(message(query_string=query(attackers), **cookie(mine))).session_key == mine.session_key
    malformed = {"headers": {"cookie": b"sessionid=other"}}
    assert Consumers().http(message(query_string=query(attackers), **malformed)).session_key is None


@pytest.mark.parametrize(
    "query_string",
    [
        b"",
        b"session_key",
        b"session_key=",
        b"%ff=\xff&a",
        b"&".join(b"a=%d" % n for n in range(2000)),
        b"\x00=;&&=",
        "é",
    ],
)
def test_no_query_string_is_too_odd_to_name_no_session(query_string: Any) -> None:
    assert Consumers().http(message(query_string=query_string)) is None


@pytest.mark.parametrize(
    "key", ["%00aaaaaaaaaaaa", "%ff%fe%fd%fc%fb%fa%f9%f8%f7", "%c3%a9aaaaaaaaaaaa", "aaaaaaaaaa%0a"]
)
def test_no_key_reaches_the_database_that_django_would_not_make(key: str) -> None:
    session = Consumers().http(message(query_string=f"session_key={key}".encode()))
    assert session is not None and session.session_key is None


def test_cookies_in_several_headers_are_read_as_one() -> None:
    session = browser_session()
    pairs = [[b"cookie", b"theme=dark"], [b"cookie", f"sessionid={session.session_key}".encode()]]
    assert Consumers().http(message(headers=pairs)).session_key == session.session_key


@pytest.mark.parametrize("decorator", [http_session, channel_and_http_session, channel_session_user_from_http])
def test_a_decorator_reads_nothing_of_the_body(decorator: Any, default_layer: ChannelLayerWrapper) -> None:
    content = {"reply_channel": "test-reply!b", "method": "POST", "path": "/", "body": b"first", "body_channel": "body"}
    default_layer.send("body", {"content": b" second", "more_content": False})
    uploaded = Message({**content, **cookie(browser_session())}, "http.request", default_layer)
    decorator(lambda message: None)(uploaded)
    assert AsgiRequest(uploaded).body == b"first second"


def test_a_message_that_names_no_session_has_none() -> None:
    assert Consumers().http(message()) is None
    assert http_session(http_session(lambda message: message.http_session))(message()) is None


def test_a_session_that_does_not_exist_is_empty_and_not_created() -> None:
    opened = message(headers={"cookie": b"sessionid=bogus0123456789"})
    session = Consumers().http(opened)
    assert session is not None
    assert session.is_empty() or not list(session.keys())


def test_a_websocket_message_is_given_a_method() -> None:
    opened = message()
    Consumers().http(opened)
    assert opened["method"] == "FAKE"
    posted = message(method="POST")
    Consumers().http(posted)
    assert posted["method"] == "POST"


def test_a_message_without_a_path_is_refused() -> None:
    unusable = Message({"reply_channel": "test-reply"}, "test", "a layer")
    with pytest.raises(ValueError, match="'path'"):
        Consumers().http(unusable)


def test_the_browsers_session_is_not_saved_when_the_consumer_raises() -> None:
    @http_session
    def consumer(message: Message) -> None:
        message.http_session["species"] = "pony"
        raise ZeroDivisionError

    session = browser_session()
    with pytest.raises(ZeroDivisionError):
        consumer(message(**cookie(session)))
    assert import_module(CACHE).SessionStore(session_key=session.session_key)["species"] == "horse"


def test_the_inner_of_two_decorators_saves_also_when_the_consumer_raises() -> None:
    @http_session
    @http_session
    def consumer(message: Message) -> None:
        message.http_session["species"] = "pony"
        raise ZeroDivisionError

    session = browser_session()
    with pytest.raises(ZeroDivisionError):
        consumer(message(**cookie(session)))
    assert import_module(CACHE).SessionStore(session_key=session.session_key)["species"] == "pony"


# channel_and_http_session


@channel_and_http_session
def both(message: Message, **changes: Any) -> Any:
    if changes:
        message.http_session.update(changes)
    return message.http_session


def test_the_browsers_session_is_remembered_for_later_messages_of_the_socket() -> None:
    session = browser_session()
    both(message(**cookie(session)))
    assert session_for_reply_channel("test-reply!b")["sessionid"] == session.session_key
    later = both(message())
    assert later["species"] == "horse"


def test_a_remembered_session_is_saved(engine: Settings) -> None:
    session = browser_session()
    both(message(**cookie(session)))
    both(message(), species="pony")
    assert import_module(CACHE).SessionStore(session_key=session.session_key)["species"] == "pony"


def test_a_remembered_session_is_of_the_session_engine(engine: Settings) -> None:
    engine.CHANNEL_SESSION_ENGINE = "django.contrib.sessions.backends.file"
    session = browser_session()
    opened = message(reply_channel="test-reply!other-engine", **cookie(session))
    try:
        both(opened)
        assert type(both(message(reply_channel="test-reply!other-engine"))).__module__ == CACHE
    finally:
        session_for_reply_channel("test-reply!other-engine").delete()


def test_a_socket_without_browser_session_has_none_to_remember() -> None:
    assert both(message()) is None
    assert both(message()) is None


NAMED = [b"sessionid=short", b"sessionid=\xff\xfe", b"sessionid=nobody-has-this-session", b'sessionid="quoted; "']


@pytest.mark.parametrize("engine_of_browsers", [CACHE, DB])
@pytest.mark.parametrize("header", NAMED)
@pytest.mark.django_db
def test_a_session_that_the_browser_named_is_an_object_for_every_message(
    engine: Settings, engine_of_browsers: str, header: bytes
) -> None:
    engine.SESSION_ENGINE = engine_of_browsers
    for opened in (message(headers={"cookie": header}), message(), message()):
        session = both(opened)
        assert session is not None
        assert list(session.keys()) == []


@pytest.mark.parametrize("header", [*NAMED, None])
@pytest.mark.django_db
def test_what_one_message_puts_into_such_a_session_is_there_for_the_next(
    engine: Settings, header: bytes | None
) -> None:
    engine.SESSION_ENGINE = DB

    @channel_and_http_session
    def count(message: Message) -> None:
        message.http_session["n"] = message.http_session.get("n", 0) + 1

    opened = message(headers={"cookie": header}) if header else message(**cookie(browser_session(DB)))
    for received in (opened, message(), message()):
        count(received)
    assert both(message())["n"] == 3


def test_a_session_that_ended_is_empty_for_later_messages_and_is_not_made_again() -> None:
    session = browser_session()
    both(message(**cookie(session)))
    session.flush()
    later = both(message())
    assert later is not None
    assert list(later.keys()) == []
    assert not later.exists(session_for_reply_channel("test-reply!b")["sessionid"])


def test_a_session_that_changed_its_key_is_found_by_later_messages() -> None:
    @channel_and_http_session
    def cycle(message: Message) -> None:
        message.http_session.cycle_key()

    cycle(message(**cookie(browser_session())))
    assert both(message())["species"] == "horse"


def test_a_decorator_outside_that_has_loaded_the_session_changes_nothing() -> None:
    @http_session
    def loading(message: Message) -> Any:
        list(message.http_session.keys())
        return both(message)

    assert loading(message(headers={"cookie": b"sessionid=nobody-has-this-session"})) is not None
    assert both(message()) is not None


def test_the_browsers_session_is_not_saved_when_the_consumer_of_both_raises() -> None:
    @channel_and_http_session
    def consumer(message: Message) -> None:
        message.http_session["species"] = "pony"
        raise ZeroDivisionError

    session = browser_session()
    with pytest.raises(ZeroDivisionError):
        consumer(message(**cookie(session)))
    assert both(message())["species"] == "horse"


def test_methods_are_decorated_too() -> None:
    class Consumer:
        @channel_and_http_session
        def receive(self, message: Message) -> Any:
            return message.http_session

    assert Consumer().receive(message(**cookie(browser_session())))["species"] == "horse"


# With real processes

UPLOAD_ROUTING = """
from channels_classic.handler import ViewConsumer
from channels_classic.sessions import http_session

views = ViewConsumer()

@http_session
def page(message):
    views(message)

channel_routing = {"http.request": page}
"""

UPLOAD_URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(len(request.read())))]
"""


def test_an_upload_reaches_its_view_through_a_decorator() -> None:
    with own_project() as project:
        project.write("mysite/routing.py", UPLOAD_ROUTING)
        project.write("mysite/urls.py", UPLOAD_URLS)
        with project.run("runinterface", "--port", str(project.port)) as interface, project.run("runworker") as worker:
            interface.wait_for_port(project.port)
            worker.wait_for_line("Listening on channels")
            connection = http.client.HTTPConnection(HOST, project.port, timeout=30)
            connection.request("POST", "/", b"x" * 3_000_000)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"3000000"), worker.output
            connection.close()
