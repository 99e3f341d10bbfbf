"""WebSockets through a real server: handshake, frames one after another, and the disconnect once and last."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from channels_classic.exceptions import ChannelFull
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from tests.interface_server.live import TIMEOUT, Live, live
from tests.support.waiting import eventually, scaled

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"


def refused(server: Live, *replies: dict[str, Any], report: Outcome | None = None) -> int:
    """The status of a handshake that a consumer answers like this."""

    def work() -> None:
        delivery = server.take(CONNECT)
        for reply in replies:
            server.layer.send(str(delivery.reply_channel), reply)
        if report is not None:
            server.report(delivery, report)

    worker = threading.Thread(target=work)
    worker.start()
    with pytest.raises(InvalidStatus) as caught:
        server.handshake()
    worker.join()
    return caught.value.response.status_code


def closed_with(client: ClientConnection) -> int | None:
    """The close code that the server sent."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(TIMEOUT)
    return caught.value.rcvd.code if caught.value.rcvd else None


# Handshake


def test_a_handshake_becomes_a_message_with_the_keys_of_the_draft(server: Live) -> None:
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(server.consume, CONNECT, {"accept": True})
        with server.handshake("/a%20b?x=%20", additional_headers=[("X-A", "1"), ("X-A", "2"), ("x_b", "3")]):
            message = taken.result()
    assert set(message) == {
        "reply_channel", "path", "root_path", "scheme", "query_string", "headers", "client", "server", "order",
    }  # fmt: skip
    assert (message["path"], message["query_string"], message["order"]) == ("/a b", b"x=%20", 0)
    assert (message["scheme"], message["root_path"]) == ("ws", "")
    assert message["client"][0] == "127.0.0.1"
    assert message["server"] == ["127.0.0.1", server.port]
    assert [value for name, value in message["headers"] if name == b"x-a"] == [b"1", b"2"]
    assert not [name for name, _ in message["headers"] if b"_" in name]


@pytest.mark.parametrize("reply", [{"accept": True, "text": "hi"}, {"text": "hi"}])
def test_text_accepts_and_arrives(server: Live, reply: dict[str, Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.consume, CONNECT, reply)
        with server.handshake() as client:
            assert client.recv(TIMEOUT) == "hi"


def test_bytes_accept_and_arrive(server: Live) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.consume, CONNECT, {"bytes": b"\x00\xff"})
        with server.handshake() as client:
            assert client.recv(TIMEOUT) == b"\x00\xff"


def test_accept_and_close_in_one_message_close_after_the_text(server: Live) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.consume, CONNECT, {"accept": True, "text": "hi", "close": 4001})
        with server.handshake() as client:
            assert client.recv(TIMEOUT) == "hi"
            assert closed_with(client) == 4001


@pytest.mark.parametrize(
    "reply", [{"accept": False}, {"close": True}, {"close": 4001}, {"accept": False, "text": "no"}]
)
def test_a_refused_handshake_gets_403_and_a_disconnect(server: Live, reply: dict[str, Any]) -> None:
    assert refused(server, reply, report=Outcome.CONSUMED) == 403
    message = server.consume(DISCONNECT)
    assert (message["code"], message["order"]) == (1006, 1)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.RAISED, 403),
        (Outcome.UNROUTED, 403),
        (Outcome.DIED, 503),
        (Outcome.EXPIRED, 503),
        (Outcome.DROPPED, 503),
    ],
)
def test_a_connect_consumer_that_fails_denies_at_once(server: Live, outcome: Outcome, status: int) -> None:
    assert refused(server, report=outcome) == status


def test_a_consumer_that_raises_after_it_accepted_leaves_the_socket_open(server: Live) -> None:
    def work() -> None:
        delivery = server.take(CONNECT)
        server.layer.send(str(delivery.reply_channel), {"accept": True})
        server.report(delivery, Outcome.RAISED)
        server.layer.send(str(delivery.reply_channel), {"text": "still here"})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        with server.handshake() as client:
            assert client.recv(TIMEOUT) == "still here"


def test_no_worker_means_403_at_the_connect_timeout_and_a_word_where_to_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        live(websocket_connect_timeout=0.3) as server,
        caplog.at_level(logging.WARNING),
        pytest.raises(InvalidStatus) as caught,
    ):
        server.handshake("/lonely")
    assert caught.value.response.status_code == 403
    assert "The WebSocket /lonely is refused: no worker took its websocket.connect message within 0.3 s" in caplog.text
    assert "Is `runworker` running?" in caplog.text


def test_a_consumer_that_decides_nothing_is_named_at_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    with live(websocket_connect_timeout=scaled(0.5)) as server, caplog.at_level(logging.WARNING):
        assert refused(server, report=Outcome.CONSUMED) == 403
    assert "the consumer of its websocket.connect message neither accepted nor closed it" in caplog.text


def test_somebody_else_may_accept_later(server: Live) -> None:
    def work() -> None:
        message = server.consume(CONNECT)
        server.layer.send(message["reply_channel"], {"accept": True})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        server.handshake().close()


def test_a_connect_timeout_of_minus_one_is_none() -> None:
    with live(websocket_connect_timeout=-1.0) as server, ThreadPoolExecutor(1) as pool:
        client = pool.submit(server.handshake)
        delivery = server.take(CONNECT)
        server.report(delivery)
        assert not client.done()
        server.layer.send(str(delivery.reply_channel), {"accept": True})
        client.result().close()


def test_the_first_known_subprotocol_of_the_client_is_agreed() -> None:
    with live(ws_protocols=("chat", "super")) as server:
        with server.websocket(subprotocols=["foo", "super", "chat"]) as client:
            assert client.subprotocol == "super"
        with server.websocket(subprotocols=["foo"]) as client:
            assert client.subprotocol is None


# Frames


def test_frames_become_messages_in_order(server: Live) -> None:
    with server.websocket("/p") as client:
        client.send("text")
        client.send(b"bytes")
        client.send("")
        messages = [server.consume(RECEIVE) for _ in range(3)]
    reply_channel = messages[0]["reply_channel"]
    assert messages == [
        {"reply_channel": reply_channel, "path": "/p", "order": 1, "text": "text"},
        {"reply_channel": reply_channel, "path": "/p", "order": 2, "bytes": b"bytes"},
        {"reply_channel": reply_channel, "path": "/p", "order": 3, "text": ""},
    ]


def test_the_next_frame_comes_when_the_one_before_was_reported(server: Live) -> None:
    with server.websocket() as client:
        for number in range(3):
            client.send(str(number))
        for number in range(3):
            delivery = server.take(RECEIVE)
            assert delivery.message["text"] == str(number)
            assert server.has_none(RECEIVE)
            server.report(delivery)


def test_frames_of_other_sockets_do_not_wait(server: Live) -> None:
    with server.websocket() as one, server.websocket() as other:
        one.send("one")
        first = server.take(RECEIVE)
        other.send("other")
        assert server.take(RECEIVE).message["text"] == "other"
        server.report(first)


def test_frames_wait_for_the_report_of_the_handshake(server: Live) -> None:
    with ThreadPoolExecutor(1) as pool:
        handshake = pool.submit(server.handshake)
        delivery = server.take(CONNECT)
        server.layer.send(str(delivery.reply_channel), {"accept": True})
        client = handshake.result()
        client.send("early")
        client.ping().wait(TIMEOUT)  # the frame has been read
        assert server.has_none(RECEIVE)
        server.report(delivery)
        assert server.consume(RECEIVE)["text"] == "early"
        client.close()


def test_replies_come_in_order_and_before_the_close(server: Live) -> None:
    with server.websocket() as client:
        client.send("go")
        replies: list[dict[str, Any]] = [{"text": str(number)} for number in range(50)]
        server.consume(RECEIVE, *replies, {"text": "last", "close": True})
        assert [client.recv(TIMEOUT) for _ in range(51)] == [*map(str, range(50)), "last"]
        assert closed_with(client) == 1000


def test_a_large_message_arrives_whole(server: Live) -> None:
    with server.websocket(max_size=None) as client:
        client.send("x" * 1_000_000)
        message = server.consume(RECEIVE, {"text": "y" * 1_000_000})
        assert message["text"] == "x" * 1_000_000
        assert client.recv(TIMEOUT) == "y" * 1_000_000


def test_a_message_without_meaning_is_ignored_with_a_word(server: Live, caplog: pytest.LogCaptureFixture) -> None:
    with server.websocket() as client:
        client.send("go")
        server.consume(RECEIVE, {"text": "a", "bytes": b"b"}, {"close": 5}, {"text": "c"})
        assert client.recv(TIMEOUT) == "c"
    assert "carries text or bytes, not both" in caplog.text


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({}, "{} has no effect: expected at least one of accept, bytes, close, text."),
        ({"text": 0}, "'text' is 0 of type int, expected text."),
        ({"bytes": "a"}, "'bytes' is 'a' of type str, expected bytes."),
        ({"accept": "yes"}, "'accept' is 'yes' of type str, expected true or false."),
        ({"txt": "a"}, "a WebSocket message has the unknown key 'txt': expected accept, bytes, close, text."),
    ],
)
def test_a_message_without_meaning_is_one_line_that_says_what_was_expected(
    server: Live, message: dict[str, Any], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server.websocket("/p") as client:
        client.send("join")
        delivery = server.take(RECEIVE)
        server.layer.group_add("g", str(delivery.reply_channel))
        for _ in range(3):
            server.layer.send(str(delivery.reply_channel), message)
            server.layer.send_group("g", message)
        server.report(delivery)
        server.layer.send_group("g", {"text": "last"})
        assert client.recv(TIMEOUT) == "last"
    lines = [record.getMessage() for record in caplog.records if "/p" in record.getMessage()]
    assert lines == [f"A message for the WebSocket /p was ignored: {sentence}"]


def test_a_thousand_frames_are_seen_in_order_by_two_workers(server: Live) -> None:
    seen: list[int] = []

    def work() -> None:
        while len(seen) < 1000:
            delivery = server.take(RECEIVE)
            seen.append(int(delivery.message["text"]))
            server.report(delivery)

    with server.websocket() as client:
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for number in range(1001):  # the last one ends the second worker
            client.send(str(number))
        for worker in workers:
            worker.join(TIMEOUT)
    assert seen[:1000] == list(range(1000))


# Groups


def test_a_group_message_reaches_every_member_once(server: Live) -> None:
    with server.websocket() as one, server.websocket() as two:
        for client in (one, two):
            client.send("join")
            message = server.take(RECEIVE)
            server.layer.group_add("g", str(message.reply_channel))
            server.report(message)
        server.layer.send_group("g", {"text": "all"})
        server.layer.send_group("g", {"bytes": b"all"})
        for client in (one, two):
            assert client.recv(TIMEOUT) == "all"
            assert client.recv(TIMEOUT) == b"all"


def test_a_group_message_waits_until_the_handshake_is_decided(server: Live) -> None:
    def work() -> None:
        delivery = server.take(CONNECT)
        channel = str(delivery.reply_channel)
        server.layer.group_add("g", channel)
        server.layer.send_group("g", {"text": "first"})
        server.layer.send_group("g", {"text": "second"})
        server.layer.send(channel, {"accept": True, "text": "third"})
        server.report(delivery)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        with server.handshake() as client:
            assert [client.recv(TIMEOUT) for _ in range(3)] == ["first", "second", "third"]


def test_a_group_message_lets_nobody_in(server: Live) -> None:
    def work() -> None:
        delivery = server.take(CONNECT)
        server.layer.group_add("g", str(delivery.reply_channel))
        server.layer.send_group("g", {"text": "secret"})
        server.layer.send(str(delivery.reply_channel), {"close": True})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        with pytest.raises(InvalidStatus, match="403"):
            server.handshake()


def test_a_group_may_accept_in_so_many_words(server: Live) -> None:
    def work() -> None:
        delivery = server.take(CONNECT)
        server.layer.group_add("g", str(delivery.reply_channel))
        server.layer.send_group("g", {"accept": True, "text": "welcome"})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        with server.handshake() as client:
            assert client.recv(TIMEOUT) == "welcome"


def test_group_and_direct_messages_keep_their_order(server: Live) -> None:
    with server.websocket() as client:
        client.send("join")
        delivery = server.take(RECEIVE)
        channel = str(delivery.reply_channel)
        server.layer.group_add("g", channel)
        for number in range(0, 40, 2):
            server.layer.send(channel, {"text": str(number)})
            server.layer.send_group("g", {"text": str(number + 1)})
        assert [client.recv(TIMEOUT) for _ in range(40)] == [str(number) for number in range(40)]
        server.report(delivery)


def test_a_group_message_may_close_its_members(server: Live) -> None:
    with server.websocket() as client:
        client.send("join")
        delivery = server.take(RECEIVE)
        server.layer.group_add("g", str(delivery.reply_channel))
        server.report(delivery)
        server.layer.send_group("g", {"text": "bye", "close": True})
        assert client.recv(TIMEOUT) == "bye"
        assert closed_with(client) == 1000


def test_a_closed_socket_leaves_its_groups_without_a_worker(server: Live) -> None:
    with server.websocket() as client:
        client.send("join")
        delivery = server.take(RECEIVE)
        server.layer.group_add("g", str(delivery.reply_channel))
        server.layer.group_add("h", str(delivery.reply_channel))
        server.report(delivery)
        assert server.layer.group_channels("g") == [delivery.reply_channel]
    eventually(lambda: not server.layer.group_channels("g") and not server.layer.group_channels("h"))


def test_a_group_that_is_joined_too_late_is_left_again(server: Live) -> None:
    with server.websocket() as client:
        client.send("join")
        delivery = server.take(RECEIVE)
    server.report(delivery)
    server.take(DISCONNECT)
    server.layer.group_add("g", str(delivery.reply_channel))
    eventually(lambda: not server.layer.group_channels("g"))


def test_a_broadcast_to_two_hundred_sockets_reaches_all(server: Live) -> None:
    clients = []
    for _ in range(200):
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(server.consume, CONNECT, {"accept": True})
            clients.append(server.handshake())
            server.layer.group_add("g", taken.result()["reply_channel"])
    for number in range(5):
        server.layer.send_group("g", {"text": str(number)})
    for client in clients:
        assert [client.recv(TIMEOUT) for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert server.layer.losses.as_dict() == {}
    for client in clients:
        client.close()
    eventually(lambda: not server.layer.group_channels("g"))


# Disconnect


@pytest.mark.parametrize(("code", "told"), [(1001, 1001), (4001, 4001), (1000, 1000)])
def test_the_disconnect_carries_the_code_of_the_client(server: Live, code: int, told: int) -> None:
    with server.websocket("/p") as client:
        client.send("a")
        frame = server.consume(RECEIVE)
        client.close(code)
    message = server.consume(DISCONNECT)
    assert message == {"reply_channel": frame["reply_channel"], "code": told, "path": "/p", "order": 2}


def test_a_close_without_a_code_is_told_as_1005(server: Live) -> None:
    with server.websocket() as client:
        client.socket.sendall(b"\x88\x80\x00\x00\x00\x00")
        assert server.consume(DISCONNECT)["code"] == 1005


def test_a_lost_connection_is_told_as_1006(server: Live) -> None:
    with server.websocket() as client:
        client.socket.shutdown(socket.SHUT_RDWR)  # closing would wait for the client's thread, which reads
        assert server.consume(DISCONNECT)["code"] == 1006


def test_bad_utf_8_is_told_as_1007(server: Live) -> None:
    with server.websocket() as client:
        client.socket.sendall(b"\x81\x81\x00\x00\x00\x00\xff")
        assert closed_with(client) == 1007
        assert server.consume(DISCONNECT)["code"] == 1007


def test_a_close_by_the_consumer_is_followed_by_the_disconnect(server: Live) -> None:
    with server.websocket() as client:
        client.send("bye")
        server.consume(RECEIVE, {"close": 4003})
        assert closed_with(client) == 4003
    message = server.consume(DISCONNECT)
    assert (message["code"], message["order"]) == (4003, 2)


def test_the_disconnect_is_last_and_there_is_one(server: Live) -> None:
    with server.websocket() as client:
        for number in range(20):
            client.send(str(number))
    seen = [server.consume(RECEIVE)["text"] for _ in range(20)]
    assert seen == [str(number) for number in range(20)]
    assert server.consume(DISCONNECT)["order"] == 21
    with server.websocket():
        pass
    assert server.consume(DISCONNECT)["order"] == 1
    assert server.has_none(DISCONNECT)


def test_the_disconnect_waits_for_the_running_consumer(server: Live) -> None:
    with server.websocket() as client:
        client.send("long")
        delivery = server.take(RECEIVE)
    assert server.has_none(DISCONNECT)
    server.report(delivery)
    server.consume(DISCONNECT)


def test_a_server_that_stops_tells_of_every_disconnect() -> None:
    layer = ChannelLayer()
    with live(layer) as server:
        clients = []
        for _ in range(5):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(server.consume, CONNECT, {"accept": True})
                clients.append(server.handshake())
        server.server.stop()
        assert {closed_with(client) for client in clients} == {1012}
        orders = [server.consume(DISCONNECT)["code"] for _ in clients]
    assert orders == [1012] * 5


# Back-pressure


def test_frames_are_held_back_while_their_channel_is_full() -> None:
    with live(ChannelLayer(channel_capacity={RECEIVE: 2})) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.websocket()) for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(str(number))
            client.ping().wait(TIMEOUT)
        assert [server.consume(RECEIVE)["text"] for _ in clients] == ["0", "1", "2", "3", "4"]
        assert server.layer.losses.as_dict() == {}


def test_a_disconnect_waits_for_room_too() -> None:
    with live(ChannelLayer(channel_capacity={DISCONNECT: 1})) as server:
        for _ in range(3):
            with server.websocket():
                pass
        for _ in range(3):
            server.consume(DISCONNECT)


def test_a_handshake_waits_for_room_and_gets_503_when_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    layer = ChannelLayer(channel_capacity={CONNECT: 1})
    layer.send(CONNECT, {"reply_channel": "x!y"})
    with live(layer, websocket_connect_timeout=scaled(0.4)) as server, caplog.at_level(logging.WARNING):
        with pytest.raises(InvalidStatus) as caught:
            server.handshake()
        assert caught.value.response.status_code == 503
        server.consume(CONNECT)
        with server.websocket():
            pass
        server.consume(DISCONNECT)
        assert server.has_none(DISCONNECT)
    assert "could not be sent" in caplog.text


def test_a_socket_whose_frames_wait_too_long_is_closed_with_1013() -> None:
    with live(waiting_frames=4, waiting_timeout=0.3) as server, server.websocket() as client:
        client.send("first")
        delivery = server.take(RECEIVE)
        for number in range(10):
            client.send(str(number))
        assert closed_with(client) == 1013
        server.report(delivery)
        # What was read before is consumed all the same, and then the end is told.
        texts = []
        while (found := server.layer.receive([RECEIVE, DISCONNECT], block=True))[0] != DISCONNECT:
            assert found[1] is not None
            texts.append(found[1]["text"])
        assert texts == [str(number) for number in range(len(texts))]
        assert found[1] is not None
        assert found[1]["code"] == 1013


def test_a_socket_that_waited_goes_on_when_there_is_room() -> None:
    with live(waiting_frames=4, waiting_bytes=100) as server, server.websocket() as client:
        for number in range(200):
            client.send(str(number).zfill(20))
        for number in range(200):
            assert int(server.consume(RECEIVE)["text"]) == number


def test_a_client_that_does_not_read_is_given_up(server: Live, caplog: pytest.LogCaptureFixture) -> None:
    with server.websocket(max_queue=1, close_timeout=0.1) as client:
        client.send("go")
        delivery = server.take(RECEIVE)

        def given_up() -> bool:
            with suppress(ChannelFull):
                server.layer.send(str(delivery.reply_channel), {"bytes": b"x" * 200_000})
            return "its client has stopped reading" in caplog.text

        eventually(given_up)
        server.report(delivery)
        assert server.consume(DISCONNECT)["code"] in (1006, 1008)


def test_pings_keep_a_socket_open_that_is_not_read() -> None:
    timeout = scaled(0.6)
    options: dict[str, Any] = {"waiting_frames": 1, "waiting_timeout": 30.0, "ping_interval": 0.2}
    with live(ping_timeout=timeout, **options) as server, server.websocket() as client:
        client.send("first")
        delivery = server.take(RECEIVE)
        for number in range(50):
            client.send(str(number))
        # Longer than a ping and its answer may take: nothing is read meanwhile, and there is nothing to wait for.
        time.sleep(timeout + 0.4)
        server.report(delivery)
        for number in range(50):
            assert server.consume(RECEIVE)["text"] == str(number)


def test_a_dead_client_is_noticed() -> None:
    with live(ping_interval=0.2, ping_timeout=0.3) as server, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(server.consume, CONNECT, {"accept": True})
        with server.raw() as client:
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            taken.result()
            assert server.consume(DISCONNECT)["code"] in (1006, 1011)


def test_a_socket_is_closed_at_the_end_of_its_life() -> None:
    with live(websocket_timeout=0.3) as server, server.websocket() as client:
        assert closed_with(client) == 1000
        server.consume(DISCONNECT)


def test_json_survives_the_way_there_and_back(server: Live) -> None:
    data = {"text": "é ✓ 𝄞", "list": [1, 2.5, None, True]}
    with server.websocket() as client:
        client.send(json.dumps(data))
        message = server.take(RECEIVE).message
        server.layer.send(message["reply_channel"], {"text": message["text"]})
        assert json.loads(client.recv(TIMEOUT)) == data
