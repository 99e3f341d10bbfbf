"""Messages that clients post to their streams: in order, with the token of the stream alone, and bounded."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer import posts as posts_module
from channels_classic.interface_server.layer.posts import Posts, Token
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.steps import Step
from tests.interface_server.event_streams.test_stream import CONNECT, DISCONNECT, RECEIVE, opened
from tests.interface_server.live import Live, live
from tests.support.event_source import EventSource
from tests.support.waiting import eventually, scaled


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(event_streams=("*",), limits={"max_message": 1000}) as running:
        yield running


def test_messages_arrive_in_the_order_in_which_they_were_posted(server: Live) -> None:
    with opened(server) as (source, _):
        assert [source.post(str(number)) for number in range(10)] == [204] * 10
        assert [server.consume(RECEIVE)["text"] for _ in range(10)] == [str(number) for number in range(10)]


def test_a_message_may_be_empty_and_is_text(server: Live) -> None:
    with opened(server) as (source, _):
        assert source.post("") == 204
        assert server.consume(RECEIVE)["text"] == ""
        assert source.post(b"\xff") == 400
        assert server.has_none(RECEIVE)


def test_a_message_that_is_too_large_gets_413(server: Live) -> None:
    with opened(server) as (source, _):
        assert source.post("x" * 1001) == 413
        assert source.post("x" * 1000) == 204
        assert server.consume(RECEIVE)["text"] == "x" * 1000


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "v2.x.y.z", "v2." + "a" * 20 + ".0.x", "ÿ", "../..", "v2.*.0.0"])
def test_a_token_that_is_none_is_refused(server: Live, token: str) -> None:
    with opened(server) as (source, _):
        assert source.post("x", token.encode().decode("latin-1")) in (403, 410)
        assert server.has_none(RECEIVE)


def test_a_token_is_for_one_stream_and_its_path(server: Live) -> None:
    with opened(server, "/a") as (first, _), opened(server, "/a") as (second, _):
        mine, other = Token.parse(first.token), Token.parse(second.token)
        assert mine is not None
        assert other is not None
        assert mine.secret != other.secret
        assert first.post("x", str(mine._replace(secret=other.secret))) == 403
        assert first.post("x", str(mine._replace(secret=mine.secret[:-1]))) == 403
        assert first.post("x", str(mine._replace(local="0" * 16))) == 410
        assert first.post("x", path="/b") == 403
        assert server.has_none(RECEIVE)
        assert first.post("x") == 204
        server.consume(RECEIVE)


def test_a_token_dies_with_its_stream(server: Live) -> None:
    source = EventSource(server.port)
    server.consume(CONNECT, {"accept": True})
    source.open()
    token = source.token
    source.close()
    server.consume(DISCONNECT)
    assert source.post("x", token) == 410
    assert server.has_none(RECEIVE)


def test_a_stream_that_is_closed_takes_no_more(server: Live) -> None:
    source = EventSource(server.port)
    server.consume(CONNECT, {"accept": True, "close": True})
    with source:
        assert source.rest()
        assert source.post("x") == 410
    server.consume(DISCONNECT)


def test_a_post_without_a_token_is_a_request_like_any_other(server: Live) -> None:
    connection = server.http()
    connection.request("POST", "/", b"a=b")
    assert server.consume("http.request", {"status": 200})["body"] == b"a=b"
    assert connection.getresponse().status == 200
    connection.close()


def test_two_tokens_are_none(server: Live) -> None:
    with opened(server) as (source, _):
        connection = server.http()
        connection.putrequest("POST", "/")
        for _ in range(2):
            connection.putheader("Event-Stream-Token", source.token)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        assert connection.getresponse().status == 403
        connection.close()


def test_a_stream_that_sends_more_than_is_consumed_is_told_to_wait() -> None:
    with live(event_streams=("*",), waiting_frames=3) as server, opened(server) as (source, _):
        statuses = [source.post(str(number)) for number in range(6)]
        assert statuses == [204] * 4 + [429] * 2  # one is on its way, three wait
        assert server.consume(RECEIVE)["text"] == "0"
        eventually(lambda: source.post("again") == 204)
        assert [server.consume(RECEIVE)["text"] for _ in range(4)] == ["1", "2", "3", "again"]


def test_a_stream_is_read_at_the_rate_of_a_socket() -> None:
    with live(event_streams=("*",), frame_rate=1) as server, opened(server) as (source, _):
        statuses = [source.post(str(number)) for number in range(6)]
        assert statuses[0] == 204
        assert statuses[-1] == 429
        for number in range(statuses.count(204)):
            assert server.consume(RECEIVE)["text"] == str(number)


def test_a_message_that_arrives_at_another_process_reaches_the_stream() -> None:
    layer = ChannelLayer()
    with live(layer, event_streams=("*",), waiting_frames=3) as first, live(layer, event_streams=("*",)) as second:
        with opened(first) as (source, _):
            assert [source.post(str(number), port=second.port) for number in range(6)] == [204] * 4 + [429] * 2
            assert [first.consume(RECEIVE)["text"] for _ in range(4)] == ["0", "1", "2", "3"]
            assert source.post("x", path="/b", port=second.port) == 403
            token = Token.parse(source.token)
            assert token is not None
            assert source.post("x", str(token._replace(secret="x")), port=second.port) == 403
            gone = token._replace(inbox="interface.v2.nobody!")
            assert source.post("x", str(gone), port=second.port) == 410
        eventually(lambda: source.post("x", port=second.port) == 410)
        assert first.has_none(RECEIVE)


def test_a_client_that_leaves_in_the_middle_of_a_message_sends_none(server: Live) -> None:
    with opened(server) as (source, _):
        with server.raw() as client:
            head = f"POST / HTTP/1.1\r\nHost: x\r\nEvent-Stream-Token: {source.token}\r\nContent-Length: 9\r\n\r\nhalf"
            client.sendall(head.encode())
        assert source.post("whole") == 204
        assert server.consume(RECEIVE)["text"] == "whole"


def test_a_refused_message_is_read_so_that_its_answer_is(server: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=scaled(10))
    connection.request("POST", "/", b"x" * 300_000, {"Event-Stream-Token": "none"})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_message_for_another_process_is_refused_at_once_while_the_layer_is_down() -> None:
    """It would be held until the layer is back, and taken by the stream long after its client gave it up."""

    async def main() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        token = Token.new(new_inbox(), "a")
        assert await asyncio.wait_for(session.posts.send(token, "/", "x"), scaled(1)) == 503
        assert not session._writer._steps

    asyncio.run(main())


def test_a_layer_that_does_not_answer_is_waited_for_no_longer_than_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Step) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        posts = Posts(new_inbox(), never, lambda _: None, lambda: True)
        assert await asyncio.wait_for(posts.send(Token.new(new_inbox(), "a"), "/", "x"), scaled(3)) == 503

    monkeypatch.setattr(posts_module, "TIMEOUT", 0.1)
    asyncio.run(main())
