"""The counters of one HTTP connection, without a connection."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.config import ClientLimits
from channels_classic.interface_server.server.request_limits import (
    CHUNK_FRAMING,
    CHUNK_RATE,
    CHUNKS_AT_ONCE,
    MAX_HEADERS,
    MAX_UNUSED_BODY,
    RATE_INTERVAL,
    BodyRate,
    Refused,
    RequestLimits,
    RequestPart,
)

LIMITS = ClientLimits(max_head=1000, max_request_line=100, body_rate=10)


def begun() -> RequestLimits:
    requests = RequestLimits(LIMITS)
    requests.begin()
    return requests


def in_body() -> RequestLimits:
    requests = begun()
    requests.begin_body()
    requests.received(200)
    return requests


def status(function: object, *arguments: object) -> int:
    with pytest.raises(Refused) as caught:
        function(*arguments)  # type: ignore[operator]
    return caught.value.status


def test_a_request_has_a_head_and_a_body_and_ends() -> None:
    requests = RequestLimits(LIMITS)
    parts = [requests.part]
    for step in (requests.begin, requests.begin_body, requests.end):
        step()
        parts.append(requests.part)
    assert parts == [RequestPart.NONE, RequestPart.HEAD, RequestPart.BODY, RequestPart.NONE]


def test_a_target_may_be_as_long_as_the_limit() -> None:
    requests = begun()
    requests.target(100)
    assert status(requests.target, 101) == 414


def test_headers_may_be_as_large_as_the_limit() -> None:
    requests = begun()
    requests.header(b"a" * 96, b"b" * 900)
    assert status(requests.header, b"", b"") == 431


def test_headers_may_be_as_many_as_the_limit_and_trailers_are_counted_anew() -> None:
    requests = begun()
    for _ in range(MAX_HEADERS):
        requests.header(b"", b"")
    assert status(requests.header, b"", b"") == 431
    requests.begin_body()
    for _ in range(MAX_HEADERS):
        requests.header(b"", b"")
    assert status(requests.header, b"", b"") == 431


def test_a_line_without_an_end_is_bounded() -> None:
    requests = begun()
    requests.received(1000)
    assert status(requests.received, 1) == 414
    requests = begun()
    requests.header(b"a", b"b")
    requests.received(1000)
    assert status(requests.received, 1) == 431


def test_a_read_that_ends_another_request_does_not_count_for_the_next_one() -> None:
    requests = in_body()
    requests.end()
    requests.begin()
    requests.received(100_000)
    requests.received(1000)
    assert status(requests.received, 1) == 414


def test_a_chunk_extension_without_an_end_is_bounded() -> None:
    requests = in_body()
    requests.received(1000)
    assert status(requests.received, 1) == 400


def test_a_trailer_without_an_end_is_bounded() -> None:
    requests = in_body()
    requests.chunk()
    requests.received(1000 + CHUNK_FRAMING)
    assert status(requests.received, 1) == 431


def test_chunks_of_one_byte_are_no_attack_and_extensions_of_each_are() -> None:
    requests = in_body()
    for _ in range(10_000):
        requests.chunk()
        assert requests.body(1, used=True)
        requests.received(6)

    def send_extensions() -> None:
        for _ in range(20_000):
            requests.chunk()
            requests.body(1, used=True)
            requests.received(5 + 100)

    assert status(send_extensions) == 400


def test_a_body_nobody_wants_is_read_up_to_a_bound() -> None:
    requests = begun()
    requests.begin_body()
    assert requests.body(10 * MAX_UNUSED_BODY, used=True)
    assert requests.body(MAX_UNUSED_BODY, used=False)
    assert not requests.body(1, used=False)


@pytest.mark.parametrize(
    ("size", "paused_then", "paused_now", "sufficient"),
    [
        (int(10 * RATE_INTERVAL), False, False, True),
        (int(10 * RATE_INTERVAL) - 1, False, False, False),
        (1, True, False, True),
        (1, False, True, True),
    ],
)
def test_a_body_must_come_fast_enough_unless_it_is_not_read(
    size: int, paused_then: bool, paused_now: bool, sufficient: bool
) -> None:
    rate = BodyRate(LIMITS)
    rate.received(size, paused=paused_then)
    assert rate.sufficient(paused=paused_now) is sufficient
    rate.restart()
    assert not rate.sufficient(paused=False)


def test_what_nobody_wants_is_counted_anew_for_each_request() -> None:
    requests = in_body()
    assert requests.body(MAX_UNUSED_BODY, used=False)
    assert not requests.body(1, used=False)
    requests.end()
    requests.begin()
    requests.begin_body()
    assert requests.body(MAX_UNUSED_BODY, used=False)


def test_many_chunks_in_one_read_cause_a_pause_and_few_do_not() -> None:
    requests = RequestLimits(ClientLimits())
    requests.begin_body()
    for number, seconds in ((CHUNKS_AT_ONCE, 0.0), (CHUNK_RATE // 2, 0.5), (1, 0.0)):
        for _ in range(number):
            requests.chunk()
        assert requests.pause() == seconds
