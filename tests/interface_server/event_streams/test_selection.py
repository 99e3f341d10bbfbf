"""The selection of requests for event streams, from their scope alone."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.interface_server.event_streams.selection import (
    FOREIGN,
    HEAD,
    HTTP_1_0,
    StreamRefusal,
    opens_stream,
    refusal_of,
    token_of,
)

STREAMS = ["/live/*"]


def scope(method: str = "GET", path: str = "/live/1", version: str = "1.1", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "http_version": version, "headers": pairs}


@pytest.mark.parametrize(
    ("accept", "is_asked_for"),
    [
        ("text/event-stream", True),
        ("text/html, TEXT/Event-Stream ; q=0.5", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q = 0.000", False),
        ("text/*, */*", False),
        ("", False),
    ],
)
def test_a_stream_is_asked_for_by_its_media_type(accept: str, is_asked_for: bool) -> None:
    assert opens_stream(scope(accept=accept), STREAMS) is is_asked_for


@pytest.mark.parametrize("changes", [{"path": "/other"}, {"method": "POST"}])
def test_other_paths_and_methods_open_none(changes: dict[str, str]) -> None:
    assert not opens_stream(scope(accept="text/event-stream", **changes), STREAMS)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, None),
        ({"method": "HEAD"}, HEAD),
        ({"version": "1.0"}, HTTP_1_0),
        ({"sec_fetch_mode": "cors"}, None),
        ({"sec_fetch_mode": "same-origin"}, None),
        ({"sec_fetch_mode": "no-cors"}, FOREIGN),
        ({"sec_fetch_mode": "navigate"}, FOREIGN),
    ],
)
def test_a_request_that_cannot_have_a_stream_is_answered(
    changes: dict[str, str], refusal: StreamRefusal | None
) -> None:
    assert refusal_of(scope(**changes)) is refusal


@pytest.mark.parametrize(
    ("changes", "token"),
    [
        ({"event_stream_token": "v1 x"}, "v1 x"),
        ({}, None),
        ({"event_stream_token": "v1 x", "method": "GET"}, None),
        ({"event_stream_token": "v1 x", "path": "/other"}, None),
    ],
)
def test_a_message_to_a_stream_names_it_by_a_token(changes: dict[str, str], token: str | None) -> None:
    assert token_of(scope(**{"method": "POST", **changes}), STREAMS) == token


def test_two_tokens_are_no_token() -> None:
    twice = scope("POST", event_stream_token="v1 x")
    twice["headers"] *= 2
    assert token_of(twice, STREAMS) == ""
