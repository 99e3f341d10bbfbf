"""HTTP through a real server: what the consumer is told, and what the client gets."""

from __future__ import annotations

import asyncio
import http.client
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.http import request
from channels_classic.interface_server.http.body import CHUNK
from channels_classic.interface_server.http.response import header_pair
from channels_classic.interface_server.http.spool import SpoolQuota
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.interface_server.layer.writer import SendCallback, SendResult
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Outgoing
from tests.interface_server.live import Live, live
from tests.support.waiting import eventually, eventually_async

Answer = tuple[http.client.HTTPResponse, bytes]


def ask(server: Live, method: str = "GET", path: str = "/", **options: Any) -> Future[Answer]:
    """A request that is under way."""

    def run() -> Answer:
        connection = server.http()
        connection.request(method, path, **options)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def read_all(connection: Any) -> bytes:
    """Everything until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_a_request_becomes_a_message_with_the_keys_of_the_draft(server: Live) -> None:
    headers = {"X-Two-Words": " padded ", "under_score": "no"}
    answer = ask(server, "POST", "/a%20b/%C3%A9?x=1&y=%20z", body=b"data", headers=headers)
    message = server.consume("http.request", {"status": 200})
    answer.result()
    assert set(message) == {
        "reply_channel", "method", "path", "root_path", "scheme", "query_string", "headers", "body", "client", "server",
        "http_version",
    }  # fmt: skip
    assert message["method"] == "POST"
    assert message["path"] == "/a b/é"
    assert message["query_string"] == b"x=1&y=%20z"
    assert message["root_path"] == ""
    assert message["scheme"] == "http"
    assert message["http_version"] == "1.1"
    assert message["body"] == b"data"
    assert message["client"][0] == "127.0.0.1"
    assert message["server"] == ["127.0.0.1", server.port]
    assert [b"x-two-words", b"padded"] in message["headers"]
    assert not [name for name, _ in message["headers"] if b"_" in name]


def test_repeated_headers_stay_apart_and_in_order(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n")
        message = server.consume("http.request", {"status": 200})
    assert [value for name, value in message["headers"] if name == b"x-a"] == [b"1", b"3"]


def test_the_configured_root_path_is_told() -> None:
    with live(root_path="/site") as server:
        answer = ask(server, path="/site/page")
        message = server.consume("http.request", {"status": 200})
        answer.result()
    assert (message["root_path"], message["path"]) == ("/site", "/site/page")


def test_a_response_in_one_message_arrives_with_its_length(server: Live) -> None:
    answer = ask(server)
    server.consume(
        "http.request",
        {
            "status": 201,
            "headers": [[b"X-Foo", b"1"], [b"Set-Cookie", b"a"], [b"Set-Cookie", b"b"]],
            "content": b"hello",
        },
    )
    response, body = answer.result()
    assert (response.status, response.reason, body) == (201, "Created", b"hello")
    assert response.getheader("x-foo") == "1"
    assert response.msg.get_all("set-cookie") == ["a", "b"]
    assert response.getheader("content-length") == "5"
    assert response.getheader("server") is None


def test_text_in_headers_is_taken_as_latin_1(server: Live) -> None:
    answer = ask(server)
    server.consume("http.request", {"status": 200, "headers": [["X-Name", "é"]]})
    assert answer.result()[0].getheader("x-name") == "é"


def test_a_response_in_parts_is_streamed_in_order(server: Live) -> None:
    answer = ask(server)
    parts = [{"content": b"%d," % number, "more_content": number < 49} for number in range(50)]
    message = server.consume("http.request", {"status": 200, "content": b"", "more_content": True})
    for part in parts:
        server.layer.send(message["reply_channel"], part)
    response, body = answer.result()
    assert response.getheader("transfer-encoding") == "chunked"
    assert body == b"".join(b"%d," % number for number in range(50))


def test_the_first_part_is_written_before_the_last_one_exists(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        message = server.consume("http.request", {"status": 200, "content": b"first", "more_content": True})
        assert b"first" in client.recv(65536)
        server.layer.send(message["reply_channel"], {"content": b"last"})
        assert b"last" in client.recv(65536)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_what_has_no_body_gets_none(server: Live, method: str, status: int) -> None:
    answer = ask(server, method)
    server.consume("http.request", {"status": status, "content": b""})
    response, body = answer.result()
    assert (response.status, body) == (status, b"")
    assert response.getheader("transfer-encoding") is None


def test_a_head_request_gets_the_headers_of_a_response_with_content(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server.consume("http.request", {"status": 200, "headers": [[b"content-length", b"5"]], "content": b"hello"})
        received = read_all(client)
    assert b"content-length: 5" in received
    assert received.endswith(b"\r\n\r\n")


def test_a_connection_serves_one_request_after_another(server: Live) -> None:
    connection = server.http()
    for number in range(3):
        connection.request("GET", f"/{number}")
        message = server.consume("http.request", {"status": 200, "content": b"ok"})
        assert connection.getresponse().read() == b"ok"
        assert message["path"] == f"/{number}"
    connection.close()


def test_pipelined_requests_are_answered_in_their_order(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for _ in range(2):
            delivery = server.take("http.request")
            server.layer.send(
                str(delivery.reply_channel), {"status": 200, "content": delivery.message["path"].encode()}
            )
        received = read_all(client)
    assert received.index(b"/1") < received.index(b"/2")


def test_a_complete_request_is_followed_by_no_disconnect(server: Live) -> None:
    answer = ask(server)
    server.consume("http.request", {"status": 200})
    answer.result()
    # A second request: what the first one sent is before it.
    answer = ask(server)
    server.consume("http.request", {"status": 200})
    answer.result()
    assert server.has_none("http.disconnect")


def test_a_client_that_leaves_early_is_reported(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
        request = server.take("http.request")
    gone = server.take("http.disconnect").message
    assert gone == {"reply_channel": request.reply_channel, "path": "/left"}


def asked(server: Live, reply_channel: str, **question: Any) -> dict[str, Any]:
    """The answer of the interface server to a worker's question."""
    server.layer.send(reply_channel, {"question": {"channel": "answers", "number": 7, **question}})
    answer = server.take("answers").message
    assert answer.pop("number") == 7
    return answer


def test_a_client_that_leaves_a_stream_behind_another_response_is_reported(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        first = str(server.take("http.request").reply_channel)
        server.layer.send(first, {"status": 200, "content": b"a", "more_content": True})
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        server.layer.send(first, {"content": b"b"})
        second = str(server.take("http.request").reply_channel)
        server.layer.send(second, {"status": 200, "content": b"c", "more_content": True})
        while not client.recv(65536).endswith(b"1\r\nc\r\n"):
            pass
    assert server.take("http.disconnect").reply_channel == second
    assert server.has_none("http.disconnect")


def test_the_rest_of_a_large_body_is_sent_to_who_asks_as_often_as_wanted(server: Live) -> None:
    body = bytes(range(256)) * 8000  # 2 MB
    answer = ask(server, "POST", body=body)
    request = server.take("http.request")
    assert request.message["body"] == body[:CHUNK]
    assert request.message["body_channel"]
    for _ in range(2):
        received, more = request.message["body"], True
        while more:
            chunk = asked(server, str(request.reply_channel), offset=len(received))
            received += chunk["content"]
            more = chunk["more_content"]
        assert received == body
    server.layer.send(str(request.reply_channel), {"status": 200})
    answer.result()
    assert asked(server, str(request.reply_channel), offset=0) == {
        "closed": True,
        "content": body[:CHUNK],
        "more_content": True,
    }


def test_a_request_whose_client_leaves_while_it_sends_is_no_message(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * (2 * CHUNK))
    answer = ask(server)
    assert server.consume("http.request", {"status": 200})["method"] == "GET"
    answer.result()
    assert server.has_none("http.request")
    assert server.has_none("http.disconnect")


def test_a_worker_that_asks_learns_whether_the_client_is_there(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        request = server.take("http.request")
        assert asked(server, str(request.reply_channel)) == {"closed": False}
    server.take("http.disconnect")
    assert asked(server, str(request.reply_channel)) == {"closed": True}


def test_a_question_may_travel_with_a_part_of_the_response(server: Live) -> None:
    answer = ask(server)
    request = server.take("http.request")
    question = {"channel": "answers", "number": 1}
    part = {"status": 200, "content": b"a", "more_content": True, "question": question}
    server.layer.send(str(request.reply_channel), part)
    assert server.take("answers").message == {"number": 1, "closed": False}
    server.layer.send(str(request.reply_channel), {"content": b"b"})
    assert answer.result()[1] == b"ab"


@pytest.mark.parametrize(
    "question", ["x", {}, {"channel": 5, "number": 1}, {"channel": "no channel!!", "number": 1}, {"channel": "a"}]
)
def test_a_question_that_cannot_be_answered_is_ignored(server: Live, question: object) -> None:
    answer = ask(server)
    server.consume("http.request", {"question": question}, {"status": 200, "content": b"ok"})
    assert answer.result()[1] == b"ok"


def test_the_size_of_a_large_chunked_body_is_in_the_message(server: Live) -> None:
    answer = ask(server, "POST", body=iter([b"x" * CHUNK, b"y"]))
    message = server.consume("http.request", {"status": 200})
    answer.result()
    assert message["body_size"] == CHUNK + 1


def test_a_consumer_that_gives_up_its_response_cuts_it_off(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 200, "content": b"half", "more_content": True}, {"closed": True})
        received = b""
        with suppress(ConnectionResetError):
            received = read_all(client)
    assert b"0\r\n\r\n" not in received


def test_what_a_client_put_into_its_path_ends_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with live(http_timeout=0.2) as server, caplog.at_level(logging.WARNING):
        ask(server, path="/%0aforged%1b[31m").result()
    assert "/\\nforged\\x1b[31m" in caplog.text
    assert "\nforged" not in caplog.text


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.RAISED, 500),
        (Outcome.UNROUTED, 500),
        (Outcome.DIED, 500),
        (Outcome.EXPIRED, 503),
        (Outcome.DROPPED, 503),
    ],
)
def test_a_failed_consumer_is_answered_at_once(server: Live, outcome: Outcome, status: int) -> None:
    answer = ask(server)
    server.report(server.take("http.request"), outcome)
    response, body = answer.result()
    assert response.status == status
    assert str(status).encode() in body


def test_a_consumer_that_ends_without_an_answer_leaves_it_to_others(server: Live) -> None:
    answer = ask(server)
    message = server.consume("http.request")
    server.layer.send(message["reply_channel"], {"status": 200, "content": b"later"})
    assert answer.result()[1] == b"later"


def test_a_failure_after_the_response_began_cuts_it_off(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        delivery = server.take("http.request")
        server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"half", "more_content": True})
        server.report(delivery, Outcome.RAISED)
        received = b""
        with suppress(ConnectionResetError):
            received = read_all(client)
    assert b"0\r\n\r\n" not in received


def test_a_consumer_that_raises_after_its_whole_response_changes_nothing(server: Live) -> None:
    answer = ask(server)
    delivery = server.take("http.request")
    server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"all"})
    server.report(delivery, Outcome.RAISED)
    assert answer.result()[1] == b"all"


def test_a_request_without_an_answer_ends_with_503_and_a_word_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    with live(http_timeout=0.3) as server, caplog.at_level(logging.WARNING):
        response, _ = ask(server, path="/slow").result()
    assert response.status == 503
    assert "No response to GET /slow came within 0.3 s" in caplog.text
    assert "Is `runworker` running?" in caplog.text


def test_a_request_that_no_worker_takes_is_warned_of_long_before_its_time_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "MARGIN", 0.3)
    with live(http_timeout=60) as server, caplog.at_level(logging.WARNING):
        answer = ask(server, path="/waiting")
        eventually(lambda: "No worker has started on GET /waiting for" in caplog.text)
        delivery = server.take("http.request")
        server.layer.send(str(delivery.reply_channel), {"status": 200, "content": b"all"})
        assert answer.result()[1] == b"all"
    assert "Is `runworker` running" in caplog.text


def test_a_stream_that_stalls_is_cut_off_and_time_goes_on_for_others() -> None:
    with live(http_timeout=0.3) as server:
        with server.raw() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            server.consume("http.request", {"status": 200, "content": b"half", "more_content": True})
            received = b""
            with suppress(ConnectionResetError):
                received = read_all(client)
            assert b"0\r\n\r\n" not in received
        assert ask(server).result()[0].status == 503


def test_a_full_channel_is_answered_with_503(caplog: pytest.LogCaptureFixture) -> None:
    with live(ChannelLayer(capacity=1)) as server:
        first = ask(server)
        eventually(lambda: server.layer.store.run(_length("http.request")) == 1)  # type: ignore[attr-defined]
        response, _ = ask(server).result()
        assert response.status == 503
        assert response.getheader("retry-after")
        server.consume("http.request", {"status": 200})
        assert first.result()[0].status == 200
        assert server.layer.losses.as_dict() == {"full": 1}


def _length(channel: str) -> Any:
    from channels_classic.layers.steps import Length

    return Length(channel)


@pytest.mark.parametrize(
    "reply",
    [
        {"content": b"no status"},
        {"status": None, "content": b"no status"},
    ],
)
def test_a_first_part_without_a_status_is_ignored(
    server: Live, reply: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(server)
    server.consume("http.request", reply, {"status": 200, "content": b"right"})
    assert answer.result()[1] == b"right"
    assert "has a status" in caplog.text


def test_a_second_status_is_ignored(server: Live) -> None:
    answer = ask(server)
    server.consume(
        "http.request",
        {"status": 200, "content": b"a", "more_content": True},
        {"status": 500, "content": b"b"},
        {"content": b"c"},
    )
    assert answer.result()[1] == b"ac"


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 200, "headers": [[b"x-a", b"1\r\nx-b: 2"]]},
        {"status": 200, "headers": [[b"x a", b"1"]]},
        {"status": 200, "headers": [[b"", b"1"]]},
        {"status": 200, "content": "text"},
        {"status": 99},
        {"status": "200"},
    ],
)
def test_what_must_not_go_over_the_wire_becomes_500(server: Live, reply: dict[str, Any]) -> None:
    answer = ask(server)
    server.consume("http.request", reply)
    response, _ = answer.result()
    assert response.status == 500
    assert response.getheader("x-b") is None


def test_a_header_pair_is_bytes_in_lower_case() -> None:
    assert header_pair(["X-Foo", b"Bar"]) == (b"x-foo", b"Bar")


def test_a_message_for_a_request_that_is_over_is_dropped(server: Live) -> None:
    answer = ask(server)
    message = server.consume("http.request", {"status": 200})
    answer.result()
    server.layer.send(message["reply_channel"], {"status": 200})
    eventually(lambda: server.layer.losses.as_dict().get("unknown") == 1)


def test_many_requests_at_once_get_their_own_answers(server: Live) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            _, message = server.layer.receive(["http.request"], block=True)
            if message is not None:
                reply = {"status": 200, "content": message["path"].encode()}
                server.layer.send(message["reply_channel"], reply)

    def visit(path: str) -> tuple[str, bytes]:
        return path, ask(server, path=path).result()[1]

    worker = threading.Thread(target=work)
    worker.start()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(visit, f"/{number}") for number in range(80)]
        for answer in answers:
            path, body = answer.result()
            assert body == path.encode()
    stop.set()
    server.layer.send("http.request", {"path": "", "reply_channel": "nobody!x"})
    worker.join()


class Unserved:
    """A request without a body and without a server, in a session of its own; notes the events that it is sent."""

    def __init__(self, session: LayerSession, *received: Any) -> None:
        self.events: list[Any] = []
        self._received = [*received] or [{"type": "http.request", "body": b""}]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "http_version": "1.1"}
        quota = SpoolQuota(1 << 20, 1 << 20)
        self.request = request.Request(session, scope, self._receive, self._send, quota, quota)
        self.task = asyncio.create_task(self.request.run())

    async def _receive(self) -> Any:
        if not self._received:
            await asyncio.Event().wait()
        event = self._received.pop(0)
        return event() if callable(event) else event

    async def _send(self, event: Any) -> None:
        self.events.append(event)

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.events)


@pytest.mark.parametrize("more", [True, False])
def test_a_request_that_is_answered_has_arrived_whatever_became_of_the_connection_that_wrote_it(more: bool) -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = LayerSession(layer, InterfaceConfig())
        await session.start()
        sent: list[tuple[Outgoing, SendCallback]] = []
        write = session._writer.send

        def answer_late(send: Outgoing, callback: SendCallback | None = None) -> None:
            if callback is not None:
                sent.append((send, callback))
            write(send)

        session._writer.send = answer_late  # type: ignore[method-assign]
        unserved = Unserved(session)
        await eventually_async(lambda: sent)
        _, message = await layer.receive_async(["http.request"])
        assert message is not None
        await layer.send_async(message["reply_channel"], {"status": 200, "content": b"a", "more_content": more})
        await eventually_async(lambda: unserved.events)
        ((outgoing, callback),) = sent
        callback(outgoing, SendResult.LOST)
        if more:
            await layer.send_async(message["reply_channel"], {"content": b"b"})
        await eventually_async(unserved.task.done)
        assert unserved.body == (b"ab" if more else b"a")
        assert layer.losses.as_dict() == {}
        await session.stop()

    asyncio.run(main())


def test_a_request_whose_body_arrived_while_the_layer_went_away_is_refused_and_not_run_later() -> None:
    async def main() -> None:
        layer = ChannelLayer()
        session = LayerSession(layer, InterfaceConfig())
        await session.start()

        def lose_the_layer() -> dict[str, Any]:
            session._down.add(session._writing)
            return {"type": "http.request", "body": b"b"}

        unserved = Unserved(session, {"type": "http.request", "body": b"a", "more_body": True}, lose_the_layer)
        await eventually_async(unserved.task.done)
        assert unserved.events[0]["status"] == 503
        assert await layer.receive_async(["http.request"]) == (None, None)
        session._down.clear()
        await session.stop()

    asyncio.run(main())
