"""Tests of what a worker asks about a client, on a memory layer; the test answers for the interface server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channels_classic._client import WINDOW, PartSender, RemoteClient
from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted, RequestTimeout
from channels_classic.handler import AsgiRequest
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import Delivery
from channels_classic.layers.steps import Heartbeat, Take
from channels_classic.message import Message


class Server:
    """An interface server with one client."""

    def __init__(self) -> None:
        self.layer = ChannelLayer()
        self.inbox = new_inbox()
        self.layer.run([Heartbeat(self.inbox)])
        self.channel = Channel(self.inbox + "client", channel_layer=self.layer)
        self.parts: list[dict[str, Any]] = []

    def take(self) -> dict[str, Any] | None:
        """The next message for the client."""
        (taken,) = self.layer.run([Take([self.inbox], 1, 0.05)])
        if taken is None:
            return None
        delivery = self.layer.planner.delivery(self.inbox, taken.items[0])
        assert isinstance(delivery, Delivery)
        return delivery.message

    @contextmanager
    def answering(self, *answers: dict[str, Any]) -> Iterator[None]:
        """Inside the block each question gets the next of these answers, later ones get none."""
        over = threading.Event()

        def run() -> None:
            left = list(answers)
            while not over.is_set():
                message = self.take()
                if message is None:
                    continue
                question = message.pop("question", None)
                self.parts += [message] if message else []
                if question and left:
                    self.layer.send(question["channel"], {"number": question["number"], **left.pop(0)})

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def server() -> Server:
    return Server()


def test_the_answer_to_a_question_is_the_one_with_its_number(server: Server) -> None:
    client = RemoteClient(server.channel)
    server.layer.send(client._answers, {"number": 0, "closed": True})  # to an earlier question
    with server.answering({"closed": False}):
        assert not client.is_gone()


def test_a_client_whose_interface_server_is_dead_is_gone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels_classic.layers.base.BLOCK", 0.05)
    client = RemoteClient(Channel(new_inbox() + "client", channel_layer=server.layer))
    assert client.is_gone()


def test_a_question_that_is_not_answered_is_repeated_and_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_classic.layers.base.BLOCK", 0.05)
    with server.answering(), pytest.raises(RequestTimeout):
        RemoteClient(server.channel).ask({"content": b"once"}, timeout=0.2)
    assert server.parts == [{"content": b"once"}], "the part that travelled with it is not repeated"


def test_a_reply_channel_of_somebody_else_is_not_asked(server: Server) -> None:
    client = RemoteClient(Channel("test!client", channel_layer=server.layer))
    assert not client.can_answer
    assert not client.is_gone()
    assert not RemoteClient(None).is_gone()


def test_the_first_part_is_confirmed_and_then_one_per_window(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels_classic._client.INTERVAL", 60.0)
    sender = PartSender(server.channel, 0.05)
    half = {"content": b"x" * (WINDOW // 2), "more_content": True}
    with server.answering({"closed": False}):
        sender.send(half)
    sender.send(half)
    with server.answering({"closed": False}):
        sender.send(half)
    sender.send(half)
    assert len(server.parts) == 3


def test_the_last_part_is_not_confirmed(server: Server) -> None:
    PartSender(server.channel, 0.05).send({"content": b"x" * WINDOW})


def test_a_client_that_is_gone_ends_the_response(server: Server) -> None:
    sender = PartSender(server.channel, 0.05)
    with server.answering({"closed": True}), pytest.raises(RequestAborted):
        sender.send({"content": b"x" * WINDOW, "more_content": True})


def request(server: Server) -> AsgiRequest:
    content = {
        "reply_channel": server.channel.name,
        "path": "/",
        "method": "POST",
        "body": b"ab",
        "body_channel": "http.request.body?x",
    }
    return AsgiRequest(Message(content, "http.request", server.layer))


def test_a_request_asks_for_its_body_when_it_is_read_and_not_before(server: Server) -> None:
    read = request(server)
    assert read.COOKIES == {}
    assert server.take() is None
    answers = [
        {"closed": False, "content": b"cd", "more_content": True},
        {"closed": True, "content": b"e", "more_content": False},
    ]
    with server.answering(*answers, *answers):
        assert read.body == b"abcde"
        assert request(server).read() == b"abcde"


def test_a_body_that_is_not_kept_any_more_aborts_the_request(server: Server) -> None:
    with server.answering({"closed": True}), pytest.raises(RequestAborted):
        request(server).read()
