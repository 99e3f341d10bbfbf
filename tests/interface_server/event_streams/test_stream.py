"""Event streams over real sockets: what a client gets for what consumers send, and what consumers hear of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.live import Live, live
from tests.support.event_source import Event, EventSource
from tests.support.waiting import eventually

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(event_streams=("*",)) as running:
        yield running


@contextmanager
def opened(
    server: Live, path: str = "/", *replies: dict[str, Any], **headers: str
) -> Iterator[tuple[EventSource, dict[str, Any]]]:
    """A stream that a consumer accepted, and the message that it had."""
    source = EventSource(server.port, path, {name.replace("_", "-"): value for name, value in headers.items()})
    message = server.consume(CONNECT, {"accept": True}, *replies)
    with source:
        yield source, message
    server.consume(DISCONNECT)


def test_a_stream_is_a_websocket_to_its_consumers(server: Live) -> None:
    with opened(server, "/chat/a%20b?x=1", Cookie="sessionid=7") as (source, message):
        reply_channel = message["reply_channel"]
        assert message["transport"] == "sse"
        assert message["cursors"] == {}
        assert (message["path"], message["query_string"], message["scheme"]) == ("/chat/a b", b"x=1", "ws")
        assert [b"cookie", b"sessionid=7"] in message["headers"]
        assert message["order"] == 0
        server.layer.send(reply_channel, {"text": "one\ntwo"})
        server.layer.send(reply_channel, {"text": ""})
        assert [source.next(), source.next()] == [Event("one\ntwo"), Event("")]
        assert source.post("ä\n") == 204
        received = server.consume(RECEIVE, {"text": "got it"})
        assert (received["text"], received["order"], received["path"]) == ("ä\n", 1, "/chat/a b")
        assert received["reply_channel"] == reply_channel
        assert source.next() == Event("got it")


def test_the_response_may_be_neither_kept_nor_collected(server: Live) -> None:
    with opened(server) as (source, _):
        response = source.response
        assert response.getheader("content-type") == "text/event-stream"
        assert response.getheader("cache-control") == "no-store"
        assert response.getheader("x-accel-buffering") == "no"
        assert response.getheader("access-control-allow-origin") is None
        assert source.parser.retry is not None
        assert 2000 <= source.parser.retry <= 4000


def test_each_stream_has_a_time_of_its_own_to_come_back(server: Live) -> None:
    times = set()
    for _ in range(5):
        with opened(server) as (source, _):
            times.add(source.parser.retry)
    assert len(times) > 1


def test_the_disconnect_of_a_client_that_leaves_has_the_code_1005(server: Live) -> None:
    source = EventSource(server.port)
    server.consume(CONNECT, {"accept": True})
    source.open()
    source.close()
    assert server.consume(DISCONNECT)["code"] == 1005


def test_a_stream_that_a_consumer_closes_ends_with_an_event_that_names_the_code(server: Live) -> None:
    for close, code in ((True, 1000), (4001, 4001)):
        source = EventSource(server.port)
        server.consume(CONNECT, {"text": "bye", "close": close})
        with source:
            assert source.rest() == [Event("bye"), Event(str(code), "close")]
        assert server.consume(DISCONNECT)["code"] == code


@pytest.mark.parametrize("reply", [{"accept": False}, {"close": True}])
def test_a_refused_stream_gets_403(server: Live, reply: dict[str, Any]) -> None:
    source = EventSource(server.port)
    server.consume(CONNECT, reply)
    with source:
        assert source.status == 403
        assert source.response.getheader("cache-control") == "no-store"
    server.consume(DISCONNECT)


def test_a_stream_that_no_worker_answers_is_refused() -> None:
    with live(event_streams=("*",), websocket_connect_timeout=0.2) as server, EventSource(server.port) as source:
        assert source.status == 403


def test_bytes_are_refused_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with live(event_streams=("*",)) as server, opened(server, "/bytes") as (source, message):
        server.layer.send(message["reply_channel"], {"bytes": b"\xff"})
        server.layer.send(message["reply_channel"], {"text": "text"})
        assert source.next() == Event("text")
        inbox = message["reply_channel"].partition("!")[0] + "!"
        assert server.layer.losses.by_channel() == [("invalid", inbox, 1)]
    assert "/bytes was ignored: it holds bytes, but an event stream carries text" in caplog.text


def test_bytes_for_a_group_do_not_accept_a_stream_that_waits(server: Live) -> None:
    source = EventSource(server.port)
    delivery = server.take(CONNECT)
    assert delivery.reply_channel is not None
    server.layer.group_add("early", delivery.reply_channel)
    server.layer.send_group("early", {"bytes": b"\xff"})
    server.layer.send_group("early", {"text": "waited"})
    server.layer.send(delivery.reply_channel, {"accept": True})
    server.report(delivery)
    with source:
        assert source.next() == Event("waited")
    server.consume(DISCONNECT)


def test_a_group_of_streams_and_sockets_gets_the_same(server: Live) -> None:
    with opened(server) as (source, message), server.websocket() as socket:
        socket.send("hello")
        other = server.consume(RECEIVE)
        for channel in (message["reply_channel"], other["reply_channel"]):
            server.layer.group_add("both", channel)
        server.layer.send_group("both", {"text": "all"})
        assert socket.recv(10) == "all"
        assert source.next() == Event("all")
        server.layer.send_group("both", {"text": "bye", "close": True})
        assert socket.recv(10) == "bye"
        assert source.rest() == [Event("bye"), Event("1000", "close")]
    server.consume(DISCONNECT)


def test_a_client_that_comes_back_names_its_cursors(server: Live) -> None:
    with opened(server, "/", Last_Event_ID="room 17-5, hall 17-9") as (_, message):
        assert message["cursors"] == {"room": "17-5", "hall": "17-9"}


@pytest.mark.parametrize("text", ["x" * 20000, "\xff", "a, b, c d e", "room"])
def test_an_id_that_is_no_cursor_is_none(server: Live, text: str) -> None:
    with opened(server, "/", Last_Event_ID=text) as (_, message):
        assert message["cursors"] == {}


def test_what_was_missed_comes_first_once_and_in_order(server: Live) -> None:
    layer = server.layer
    keep: dict[str, Any] = {"keep": 10, "seconds": 60}
    with opened(server) as (source, message):
        layer.group_add("room", message["reply_channel"], keep=10, after=None)
        layer.group_add("hall", message["reply_channel"], keep=10, after=None)
        for number in range(3):
            layer.send_group("room", {"text": str(number)}, **keep)
        layer.send_group("hall", {"text": "hall"}, **keep)
        assert sorted(source.next().data for _ in range(4)) == ["0", "1", "2", "hall"]
    last_event_id = source.parser.last_event_id
    assert re.fullmatch(r"(room|hall) \d+-\d+, (room|hall) \d+-\d+", last_event_id)
    for number in range(3, 6):
        layer.send_group("room", {"text": str(number)}, **keep)
    with opened(server, "/", Last_Event_ID=last_event_id) as (source, message):
        cursors = message["cursors"]
        layer.group_add("room", message["reply_channel"], keep=10, after=cursors["room"])
        layer.group_add("hall", message["reply_channel"], keep=10, after=cursors["hall"])
        assert [source.next().data for _ in range(3)] == ["3", "4", "5"]
        layer.send_group("room", {"text": "6"}, **keep)
        assert source.next().data == "6"
        assert set(source.parser.last_event_id.split()) >= {"room", "hall"}


@pytest.mark.parametrize("cursor", ["1-1", "nonsense"])
def test_what_is_kept_no_more_is_a_gap(server: Live, cursor: str) -> None:
    keep: dict[str, Any] = {"keep": 2, "seconds": 60}
    for number in range(3):
        server.layer.send_group("short", {"text": str(number)}, **keep)
    with opened(server, "/", Last_Event_ID=f"short {cursor}") as (source, message):
        server.layer.group_add("short", message["reply_channel"], keep=2, after=message["cursors"]["short"])
        assert source.next() == Event("short", "gap")
        server.layer.send_group("short", {"text": "new"}, **keep)
        assert source.next() == Event("new")


def test_an_idle_stream_has_a_heartbeat() -> None:
    with live(event_streams=("*",), ping_interval=0.05) as server, opened(server) as (source, _):
        while source.parser.comments < 3:
            assert source.read()
        assert not source.parser.events[1:]


def test_a_stream_holds_no_worker_and_no_limit_of_requests(server: Live) -> None:
    with opened(server) as (_, message):
        assert server.has_none("http.request")
        assert message["reply_channel"]


def test_a_page_whose_origin_was_accepted_may_read_the_stream(server: Live) -> None:
    with opened(server, "/", Origin="https://a.example") as (source, message):
        assert [b"origin", b"https://a.example"] in message["headers"]
        assert source.response.getheader("access-control-allow-origin") == "https://a.example"
        assert source.response.getheader("access-control-allow-credentials") == "true"
        assert source.response.getheader("vary") == "Origin"


def test_only_the_paths_that_are_named_have_streams() -> None:
    with live(event_streams=("/live/*", "/news/")) as server:
        for path, found in (
            ("/live/1/2", CONNECT),
            ("/news/", CONNECT),
            ("/news/1", "http.request"),
            ("/", "http.request"),
        ):
            source = EventSource(server.port, path)
            assert server.consume(found, {"close": True} if found == CONNECT else {"status": 404})["path"] == path
            with source:
                assert source.status == (403 if found == CONNECT else 404)


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("text/html, TEXT/Event-Stream;q=0.5", True),
        ("text/event-stream; charset=utf-8", True),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_a_stream_is_for_clients_that_name_its_media_type(server: Live, accept: str, is_stream: bool) -> None:
    connection = server.http()
    connection.request("GET", "/", headers={"Accept": accept})
    if is_stream:
        server.consume(CONNECT, {"close": True})
    else:
        server.consume("http.request", {"status": 200})
    assert connection.getresponse().status == (403 if is_stream else 200)
    connection.close()
    if is_stream:
        server.consume(DISCONNECT)


def test_without_the_option_nothing_changes() -> None:
    with live() as server:
        source = EventSource(server.port)
        server.consume("http.request", {"status": 404})
        with source:
            assert source.status == 404
        assert server.has_none(CONNECT)


def test_sockets_of_one_address_and_streams_are_counted_together() -> None:
    with live(event_streams=("*",), sockets_per_address=1) as server, opened(server):
        with EventSource(server.port) as second:
            assert second.status == 429
        assert server.layer.losses.as_dict()["flood"] == 1


def test_handshakes_of_streams_take_their_turn() -> None:
    options: dict[str, Any] = {"limits": {"connect_rate": 0.1}}
    with live(event_streams=("*",), **options) as server, opened(server), EventSource(server.port) as second:
        assert second.status == 503
        assert second.response.getheader("retry-after") == "5"


def test_connections_are_limited() -> None:
    options: dict[str, Any] = {"limits": {"max_connections": 1}}
    with live(event_streams=("*",), **options) as server, opened(server), EventSource(server.port) as second:
        assert second.status == 503


def test_streams_are_counted_like_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[LayerSession] = []
    start = LayerSession.start

    async def noted(session: LayerSession) -> None:
        sessions.append(session)
        await start(session)

    monkeypatch.setattr(LayerSession, "start", noted)
    with live(ChannelLayer(), event_streams=("*",)) as own:
        with opened(own):
            assert sessions[0].stats.sockets == 1
        eventually(lambda: sessions[0].stats.closed == {"1005": 1})
        assert sum(sessions[0].stats.handshakes["accepted"].counts.values()) == 1
        assert not sessions[0].stats.begun


def test_a_server_that_stops_asks_its_streams_to_come_back_soon() -> None:
    with live(event_streams=("*",)) as server:
        source = EventSource(server.port)
        server.consume(CONNECT, {"accept": True})
        source.open()
        server.server.stop()
        assert source.rest() == []
        assert source.parser.retry is not None
        assert 1000 <= source.parser.retry <= 2000
        source.close()


def test_a_server_that_drains_closes_its_streams_one_by_one() -> None:
    with live(event_streams=("*",), drain=0.3) as server:
        sources = [EventSource(server.port) for _ in range(3)]
        for _ in sources:
            server.consume(CONNECT, {"accept": True})
        for source in sources:
            source.open()
        server.server.stop()
        for source in sources:
            assert source.rest() == []
            assert source.parser.retry is not None
            assert source.parser.retry <= 2000
            source.close()
        assert {server.consume(DISCONNECT)["code"] for _ in sources} == {1012}
