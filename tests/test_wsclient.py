"""The WebSocket test client, as the tests of projects use it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import parse_cookie
from django.test import override_settings

from channels_classic import Group, route
from channels_classic.auth import channel_session_user, channel_session_user_from_http, http_session_user
from channels_classic.exceptions import ChannelSocketException, DenyConnection, WebsocketCloseException
from channels_classic.handler import AsgiRequest
from channels_classic.message import Message
from channels_classic.security.websockets import allowed_hosts_only
from channels_classic.sessions import channel_session, enforce_ordering, http_session
from channels_classic.test import ChannelTestCase, WSClient, apply_routes

CACHE = "django.contrib.sessions.backends.cache"


def accept(message: Message, **kwargs: Any) -> None:
    message.reply_channel.send({"accept": True})  # type: ignore[union-attr]


def refuse(message: Message) -> None:
    message.reply_channel.send({"close": True})  # type: ignore[union-attr]


@enforce_ordering
def answer_order(message: Message) -> None:
    message.reply_channel.send({"text": message["order"]})  # type: ignore[union-attr]


@channel_session_user_from_http
def accept_user(message: Message) -> None:
    message.reply_channel.send({"accept": True, "text": None} if not message.user.pk else {"accept": True})  # type: ignore[union-attr]


@channel_session_user
def name_user(message: Message) -> None:
    message.reply_channel.send({"text": message.user.username})  # type: ignore[union-attr]


class Permissions:
    """An authentication backend that only knows permissions."""

    def has_perm(self, user: object, permission: str, obj: object = None) -> bool:
        return False


class CookieTests(ChannelTestCase):
    def test_the_last_cookie_of_a_name_wins(self) -> None:
        client = WSClient()
        client.set_cookie("foo", "not-bar")
        client.set_cookie("foo", "bar")
        client.set_cookie("qux", "qu;x")
        cookies = parse_cookie(client.headers["cookie"].decode("ascii"))
        assert cookies["foo"] == "bar"
        assert cookies["qux"] == "qu;x"
        assert cookies == client.get_cookies()

    def test_the_cookie_of_the_session_is_among_them(self) -> None:
        client = WSClient()
        assert client.get_cookies() == {"sessionid": client.session.session_key}

    def test_and_only_in_the_first_message(self) -> None:
        client = WSClient()
        client.set_cookie("foo", "bar")
        client.send("websocket.connect")
        assert b"sessionid=" in header(client.get_next_message("websocket.connect"), b"cookie")
        client.send("websocket.receive")
        assert header(client.get_next_message("websocket.receive"), b"cookie") == b"foo=bar"

    def test_a_cookie_header_cannot_be_set_by_hand(self) -> None:
        with pytest.raises(ValueError, match="set_cookie"):
            WSClient().set_header("cookie", b"foo=bar")

    def test_headers_are_a_dict_and_are_sent_as_a_list_of_pairs_of_bytes(self) -> None:
        client = WSClient()
        client.set_header("origin", b"http://example.com")
        client.set_header("x-text", "text as well")
        assert client.headers["origin"] == b"http://example.com"
        content = client._get_content()
        assert content["headers"] == client.headers
        assert b"sessionid=" in content["headers"]["cookie"]
        client.send("websocket.connect")
        message = client.get_next_message("websocket.connect")
        assert message is not None
        assert header(message, b"origin") == b"http://example.com"
        for sent in (content, message.content):
            request = AsgiRequest(Message({**sent, "method": "GET"}, "x", None))
            assert request.META["HTTP_X_TEXT"] == "text as well"

    def test_headers_in_the_content_are_sent_as_they_are(self) -> None:
        client = WSClient()
        client.send("websocket.connect", {"headers": {"cookie": b"a=b"}})
        message = client.get_next_message("websocket.connect")
        assert message is not None and message["headers"] == {"cookie": b"a=b"}

    def test_an_origin_validator_lets_the_client_in_that_sets_an_allowed_origin(self) -> None:
        with apply_routes(route("websocket.connect", allowed_hosts_only(accept))):
            with pytest.raises(DenyConnection, match=r"client\.set_header\('origin', 'http://testserver'\)"):
                WSClient().send_and_consume("websocket.connect")
            client = WSClient()
            client.set_header("origin", "http://testserver")
            client.send_and_consume("websocket.connect")


def header(message: Message | None, name: bytes) -> bytes:
    assert message is not None
    value: bytes = dict(message["headers"])[name]
    return value


class ContentTests(ChannelTestCase):
    def test_text_that_is_no_text_is_sent_as_json(self) -> None:
        client = WSClient()
        assert client._get_content(text={"test": "hello"})["text"] == '{"test": "hello"}'
        assert client._get_content(content={"text": {"test": "hello"}})["text"] == '{"test": "hello"}'
        assert client._get_content(text="as it is")["text"] == "as it is"

    def test_an_empty_text_falls_back_to_the_content(self) -> None:
        client = WSClient()
        assert client._get_content(content={"text": "from the content"}, text="")["text"] == "from the content"
        assert "text" not in client._get_content()

    def test_a_path_in_the_content_wins_over_the_argument(self) -> None:
        content = WSClient()._get_content(content={"path": "/my_path"}, text="hello", path="/other_path")
        assert content["path"] == "/my_path"

    def test_headers_and_reply_channel_in_the_content_win(self) -> None:
        content = WSClient()._get_content(content={"headers": [], "reply_channel": "mine", "query_string": "a=b"})
        assert (content["headers"], content["reply_channel"], content["query_string"]) == ([], "mine", "a=b")

    def test_headers_hold_the_cookie_of_the_session(self) -> None:
        content = WSClient()._get_content(content={"path": "/"})
        assert b"sessionid=" in content["headers"]["cookie"]

    def test_the_content_is_copied(self) -> None:
        content: dict[str, Any] = {"nested": {}}
        WSClient()._get_content(content)["nested"]["key"] = "value"
        assert content == {"nested": {}}

    def test_an_ordered_client_numbers_its_messages(self) -> None:
        client = WSClient(ordered=True)
        assert [client._get_content()["order"] for _ in range(2)] == [0, 1]
        client.order = 7
        assert client._get_content()["order"] == 7
        with pytest.raises(ValueError, match=r"client\.order"):
            client._get_content(content={"order": 5})

    def test_a_client_without_order_sends_none_unless_told(self) -> None:
        assert "order" not in WSClient()._get_content()
        assert WSClient()._get_content(content={"order": 5})["order"] == 5

    def test_options_are_given_by_keyword(self) -> None:
        with pytest.raises(TypeError):
            WSClient(True)  # type: ignore[call-arg]  # that is the point
        assert WSClient(reply_channel="daphne.response.1").reply_channel.startswith("daphne.response.1")


class PathTests(ChannelTestCase):
    def test_the_query_string_is_split_off_and_delivered_on_connect_only(self) -> None:
        client = WSClient()
        client.send("websocket.connect", path="/?a=1&a=2&b=3")
        message = client.get_next_message("websocket.connect")
        assert message is not None and message["path"] == "/"
        message["method"] = "GET"
        assert dict(AsgiRequest(message).GET) == {"a": ["1", "2"], "b": ["3"]}
        client.send("websocket.receive", path="/?a=1")
        message = client.get_next_message("websocket.receive")
        assert message is not None and (message["path"], message["query_string"]) == ("/", "")
        message["method"] = "GET"
        assert dict(AsgiRequest(message).GET) == {}

    def test_a_second_question_mark_is_refused(self) -> None:
        with pytest.raises(ValueError, match="more than one"):
            WSClient().send("websocket.connect", path="/?a=1?b=2")


class ConsumeTests(ChannelTestCase):
    def test_an_ordered_client_meets_a_consumer_that_enforces_order(self) -> None:
        client = WSClient(ordered=True)
        with apply_routes(route("websocket.receive", answer_order)):
            client.send_and_consume("websocket.receive", text="1")
            client.send_and_consume("websocket.receive", text="2")
            client.send_and_consume("websocket.receive", text="3")
        assert [client.receive() for _ in range(4)] == [0, 1, 2, None]

    def test_connect_must_be_accepted(self) -> None:
        client = WSClient()
        with apply_routes(route("websocket.connect", accept)):
            client.send_and_consume("websocket.connect")
        assert client.receive() is None

    def test_connect_that_is_not_accepted_fails_the_test(self) -> None:
        with apply_routes(route("websocket.connect", refuse)), pytest.raises(AssertionError, match="close"):
            WSClient().send_and_consume("websocket.connect")

    def test_connect_that_nobody_consumes_fails_the_test_too(self) -> None:
        with apply_routes([]), pytest.raises(AssertionError, match="None"):
            WSClient().send_and_consume("websocket.connect", fail_on_none=False)

    def test_unless_the_check_is_turned_off(self) -> None:
        client = WSClient()
        with apply_routes(route("websocket.connect", refuse)):
            client.send_and_consume("websocket.connect", check_accept=False)
        assert client.receive() == {"close": True}

    def test_a_consumer_that_does_not_answer_accepts_if_the_setting_says_so(self) -> None:
        def silent(message: Message) -> None:
            Group("room").add(message["reply_channel"])

        with apply_routes(route("websocket.connect", silent)):
            with pytest.raises(AssertionError, match="None"):
                WSClient().send_and_consume("websocket.connect")
            with override_settings(CHANNELS_IMPLICIT_ACCEPT=True):
                WSClient().send_and_consume("websocket.connect")

    @override_settings(CHANNELS_IMPLICIT_ACCEPT=True)
    def test_one_that_answers_or_raises_does_not_accept_by_that_setting(self) -> None:
        def failing(message: Message) -> None:
            raise ValueError("refused")

        client = WSClient()
        with apply_routes(route("websocket.connect", refuse)), pytest.raises(AssertionError, match="close"):
            client.send_and_consume("websocket.connect")
        with apply_routes(route("websocket.connect", failing)), pytest.raises(ValueError, match="refused"):
            client.send_and_consume("websocket.connect")
        assert client.receive() is None

    def test_the_run_method_of_a_channel_socket_exception_is_called(self) -> None:
        class MyException(ChannelSocketException):
            def run(self, message: Message) -> None:
                message.reply_channel.send({"text": "error"})  # type: ignore[union-attr]

        def consumer(message: Message) -> None:
            raise MyException

        client = WSClient()
        with apply_routes(route("websocket.receive", consumer)):
            client.send_and_consume("websocket.receive")
        assert client.receive(json=False) == "error"

    def test_a_websocket_close_exception_can_be_tested(self) -> None:
        def consumer(message: Message) -> None:
            raise WebsocketCloseException

        client = WSClient()
        with apply_routes(route("websocket.receive", consumer)):
            client.send_and_consume("websocket.receive")
        assert client.receive() == {"close": True}


class ReceiveTests(ChannelTestCase):
    def reply(self, content: dict[str, Any], **options: Any) -> Any:
        client = WSClient()
        client.channel_layer.send(client.reply_channel, content)
        return client.receive(**options)

    def test_text_is_read_as_json(self) -> None:
        assert self.reply({"text": '{"a": 1}'}) == {"a": 1}
        assert self.reply({"text": '{"a": 1}'}, json=False) == '{"a": 1}'

    def test_without_a_text_the_whole_content_is_received(self) -> None:
        assert self.reply({"bytes": b"\x00"}) == {"bytes": b"\x00"}

    def test_with_no_message_left_nothing_is_received(self) -> None:
        assert WSClient().receive() is None

    def test_text_that_is_no_json_is_named(self) -> None:
        with pytest.raises(json.JSONDecodeError, match=r"'hello' is not JSON.*json=False"):
            self.reply({"text": "hello"})


class SessionTests(ChannelTestCase):
    def setUp(self) -> None:
        self.user = User.objects.create_user("horse", password="oats")

    def test_the_session_is_the_channel_session_until_somebody_logs_in(self) -> None:
        client = WSClient()
        client.session["species"] = "horse"
        client.session.save(must_create=True)

        @channel_session
        def consumer(message: Message) -> str:
            species: str = message.channel_session["species"]
            return species

        with apply_routes(route("websocket.receive", consumer)):
            assert client.send_and_consume("websocket.receive") == "horse"

    def test_after_a_login_they_differ(self) -> None:
        client = WSClient()
        before = client.session.session_key
        assert client.login(username="horse", password="oats")
        assert client.session.session_key != before
        assert client.get_cookies()["sessionid"] == client.session.session_key

    def test_a_logged_in_user_is_known_on_connect_and_later(self) -> None:
        client = WSClient()
        client.force_login(self.user)
        assert self.user.backend == "django.contrib.auth.backends.ModelBackend"
        with apply_routes([route("websocket.connect", accept_user), route("websocket.receive", name_user)]):
            client.send_and_consume("websocket.connect")
            client.send_and_consume("websocket.receive")
        assert client.receive(json=False) == "horse"

    @override_settings(
        AUTHENTICATION_BACKENDS=["tests.test_wsclient.Permissions", "django.contrib.auth.backends.ModelBackend"]
    )
    def test_a_login_passes_over_backends_that_cannot_get_users(self) -> None:
        client = WSClient()
        client.force_login(self.user)
        assert self.user.backend == "django.contrib.auth.backends.ModelBackend"
        with apply_routes([route("websocket.connect", accept_user), route("websocket.receive", name_user)]):
            client.send_and_consume("websocket.connect")
            client.send_and_consume("websocket.receive")
        assert client.receive(json=False) == "horse"

    def test_a_login_may_name_its_backend(self) -> None:
        backend = "django.contrib.auth.backends.AllowAllUsersModelBackend"
        with override_settings(AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend", backend]):
            client = WSClient()
            client.force_login(self.user, backend=backend)
        assert client.session["_auth_user_backend"] == backend

    @override_settings(AUTHENTICATION_BACKENDS=["tests.test_wsclient.Permissions"])
    def test_a_login_without_a_backend_that_can_get_users_is_refused_as_by_django(self) -> None:
        with pytest.raises(TypeError, match="backend"):
            WSClient().force_login(self.user)

    def test_a_login_with_a_wrong_password_is_refused(self) -> None:
        assert not WSClient().login(username="horse", password="hay")

    def test_a_user_who_is_not_active_cannot_log_in(self) -> None:
        self.user.is_active = False
        self.user.save()
        backends = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
        with override_settings(AUTHENTICATION_BACKENDS=backends):
            assert not WSClient().login(username="horse", password="oats")

    @override_settings(CHANNEL_SESSION_ENGINE=CACHE)
    def test_a_login_is_seen_also_with_an_engine_of_its_own_for_channel_sessions(self) -> None:
        self.check_http_user()

    @override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies", CHANNEL_SESSION_ENGINE=CACHE)
    def test_and_when_the_session_of_views_lives_in_the_cookie(self) -> None:
        self.check_http_user()

    def check_http_user(self) -> None:
        client = WSClient()
        client.force_login(self.user)

        @http_session_user
        def consumer(message: Message) -> str:
            username: str = message.user.username
            return username

        with apply_routes(route("websocket.connect", consumer)):
            assert client.send_and_consume("websocket.connect", check_accept=False) == "horse"

    def test_a_new_client_has_an_empty_session(self) -> None:
        @http_session
        def consumer(message: Message) -> Any:
            return dict(message.http_session.items())

        with apply_routes(route("websocket.connect", consumer)):
            assert WSClient().send_and_consume("websocket.connect", check_accept=False) == {}

    def test_without_the_sessions_app_there_is_no_session(self) -> None:
        with self.modify_settings(INSTALLED_APPS={"remove": ["django.contrib.sessions", "django.contrib.admin"]}):
            client = WSClient()
            assert client.get_cookies() == {}
            assert client.headers == {"cookie": b""}
            with pytest.raises(EnvironmentError, match="sessions"):
                _ = client.session
            assert not client.login(username="horse", password="oats")

    def test_a_client_in_a_group_gets_its_messages(self) -> None:
        client = WSClient()
        client.join_group("room")
        Group("room").send({"text": json.dumps({"a": 1})})
        assert client.receive() == {"a": 1}
