"""A response part by part: its length, its headers, and the events that the client gets. No connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from channels_classic.interface_server.http.response import PIECE, IgnoredPart, Response, begin
from channels_classic.interface_server.http.spool import SpoolQuota


def response(method: str = "GET") -> Response:
    return Response(method, SpoolQuota(10 * PIECE, 0))


def events(sent: Response) -> Iterator[dict[str, Any]]:
    """Yield what the client gets by now."""
    while found := sent.next_events():
        yield from found


def headers_of(message: dict[str, Any], method: str = "GET", size: int | None = 2) -> list[tuple[bytes, bytes]]:
    event, _ = begin({"status": 200, **message}, method, size)
    found: list[tuple[bytes, bytes]] = event["headers"]
    return found


def test_a_whole_response_is_its_head_and_its_content() -> None:
    sent = response()
    sent.add({"status": 200, "content": b"hi"})
    head, body = events(sent)
    assert head["headers"] == [(b"content-length", b"2")]
    assert body == {"type": "http.response.body", "body": b"hi", "more_body": False}
    assert sent.is_finished
    assert sent.written == 2


def test_parts_go_out_as_they_come() -> None:
    sent = response()
    sent.add({"status": 200, "content": b"a", "more_content": True})
    assert [event.get("body") for event in events(sent)] == [None, b"a"]
    assert not sent.is_complete
    sent.add({"content": b"b"})
    assert [event["more_body"] for event in events(sent)] == [False]


def test_a_large_part_goes_out_in_pieces() -> None:
    sent = response()
    sent.add({"status": 200, "content": b"x" * (2 * PIECE + 1)})
    assert [len(event.get("body", b"")) for event in events(sent)] == [0, PIECE, PIECE, 1]


def test_a_held_response_goes_out_with_its_length_when_it_is_complete() -> None:
    sent = Response("GET", SpoolQuota(10 * PIECE, 0), held=True)
    sent.add({"status": 200, "content": b"a", "more_content": True})
    assert sent.next_events() == []
    assert not sent.is_started
    sent.add({"content": b"bc"})
    head, *bodies = events(sent)
    assert head["headers"] == [(b"content-length", b"3")]
    assert b"".join(event["body"] for event in bodies) == b"abc"
    assert sent.is_finished


def test_a_held_response_that_is_released_goes_out_as_it_comes() -> None:
    sent = Response("GET", SpoolQuota(10 * PIECE, 0), held=True)
    sent.add({"status": 200, "content": b"a", "more_content": True})
    sent.release()
    assert [event.get("headers", event.get("body")) for event in events(sent)] == [[], b"a"]
    sent.add({"content": b"b"})
    assert [event["body"] for event in events(sent)] == [b"b"]


@pytest.mark.parametrize(
    "head",
    [
        {"headers": [[b"content-length", b"2"]]},
        {"headers": [[b"content-type", b"text/event-stream"]]},
        {"headers": [[b"x-accel-buffering", b"no"]]},
        {"status": 204},
    ],
)
def test_a_response_is_not_held_if_its_end_is_marked_or_it_is_live(head: dict[str, Any]) -> None:
    sent = Response("GET", SpoolQuota(10 * PIECE, 0), held=True)
    sent.add({"status": 200, **head, "content": b"a", "more_content": True})
    assert sent.next_events()


def test_only_the_first_part_has_a_status() -> None:
    sent = response()
    with pytest.raises(IgnoredPart):
        sent.add({"content": b"a"})
    sent.add({"status": 200, "more_content": True})
    with pytest.raises(IgnoredPart):
        sent.add({"status": 200})


@pytest.mark.parametrize(
    ("content", "more", "words"), [(b"abc", False, "more"), (b"a", False, "fewer"), (b"abc", True, "more")]
)
def test_content_that_contradicts_its_length_is_refused(content: bytes, more: bool, words: str) -> None:
    head = {"status": 200, "headers": [(b"Content-Length", b"2")]}
    with pytest.raises(ValueError, match=f"{words} bytes than its Content-Length of 2"):
        response().add({**head, "content": content, "more_content": more})


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_content_has_none(method: str, status: int) -> None:
    sent = response(method)
    sent.add({"status": status, "content": b"hi"})
    assert [event.get("body", b"") for event in events(sent)] == [b"", b""]


def test_the_length_of_a_response_to_head_is_that_of_get() -> None:
    assert (b"content-length", b"7") in headers_of({"headers": [("Content-Length", "7")]}, "HEAD")


def test_a_length_that_is_unknown_is_not_invented() -> None:
    assert headers_of({}, size=None) == []


def test_headers_of_the_server_are_not_written_twice() -> None:
    given = [("Date", "now"), ("Transfer-Encoding", "chunked"), ("X-A", "1"), (b"x-a", b"2")]
    assert headers_of({"headers": given}) == [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"2")]


@pytest.mark.parametrize(
    "message",
    [
        {"status": 99},
        {"status": "200"},
        {"headers": {"a": "b"}},
        {"headers": [("a",)]},
        {"headers": [("a", None)]},
        {"headers": [("a b", "c")]},
        {"headers": [("a", "b\r\nc: d")]},
        {"headers": [("Content-Length", "1"), ("Content-Length", "2")]},
        {"headers": [("Content-Length", "-1")]},
    ],
)
def test_what_must_not_go_over_the_wire_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="its "):
        begin({"status": 200, **message}, "GET", 0)


def test_content_that_is_text_is_refused() -> None:
    with pytest.raises(ValueError, match="expected bytes"):
        response().add({"status": 200, "content": "hi"})


def test_server_sent_events_are_recognised() -> None:
    sent = response()
    sent.add({"status": 200, "headers": [("Content-Type", "text/event-stream; charset=utf-8")], "more_content": True})
    assert sent.is_event_stream
