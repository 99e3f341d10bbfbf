"""The rules of RFC 9112 that the parser leaves to us, without a parser."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.server.request_limits import Refused
from channels_classic.interface_server.server.request_syntax import (
    check_headers,
    check_request_line,
    origin_form,
    status_of_error,
)


def status(function: object, *arguments: object) -> int | None:
    try:
        function(*arguments)  # type: ignore[operator]
    except Refused as refusal:
        return refusal.status
    return None


@pytest.mark.parametrize(
    ("line", "method", "target", "version", "expected"),
    [
        (b"GET / HTTP/1.1\r\n", b"GET", b"/", "1.1", None),
        (b"GET / HTTP/1.0\r\nHost: x", b"GET", b"/", "1.0", None),
        (b"GET  / RTSP/1.0\r\nX: GET / HTTP/1.0\r\n\r\n", b"GET", b"/", "1.0", 400),
        (b"GET / RTSP/1.0\r\n\r\nGET / HTTP/1.0\r\n", b"GET", b"/", "1.0", 400),
        (b"GET  / HTTP/1.1\r\n", b"GET", b"/", "1.1", 400),
        (b"GET / RTSP/1.0\r\n", b"GET", b"/", "1.0", 400),
        (b"SOURCE / ICE/1.0\r\n", b"SOURCE", b"/", "1.0", 400),
        (b"GET / HTTP/0.9\r\n", b"GET", b"/", "0.9", 505),
        (b"GET / HTTP/2.0\r\n", b"GET", b"/", "2.0", 505),
        (b"CONNECT a:1 HTTP/1.1\r\n", b"CONNECT", b"a:1", "1.1", 501),
    ],
)
def test_a_request_line_is_exact(line: bytes, method: bytes, target: bytes, version: str, expected: int | None) -> None:
    assert status(check_request_line, line, method, target, version) == expected


@pytest.mark.parametrize(
    ("head", "invalid_method", "expected"),
    [
        (b"FOO / HTTP/1.1\r\n", True, 501),
        (b"get / HTTP/1.1\r\n", True, 501),
        (b"GET / HTTP/3.0\r\n", False, 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False, 505),
        (b"GET / HTTP/1.1\r\nA : b\r\n", False, 400),
        (b"\x16\x03\x01", True, 400),
        (b"GET / HTTP/3.0", False, 400),
    ],
)
def test_a_head_that_cannot_be_parsed_gets_the_status_that_tells_why(
    head: bytes, invalid_method: bool, expected: int
) -> None:
    assert status_of_error(head, invalid_method=invalid_method) == expected


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ([(b"host", b"x")], "1.1", None),
        ([(b"host", b"[::1]:80")], "1.1", None),
        ([(b"host", b"")], "1.1", None),
        ([], "1.0", None),
        ([], "1.1", 400),
        ([(b"host", b"x"), (b"host", b"x")], "1.0", 400),
        ([(b"host", b"x/y")], "1.1", 400),
        ([(b"host", b"a@b")], "1.1", 400),
        ([(b"host", b"x"), (b"transfer-encoding", b"Chunked ")], "1.1", None),
        ([(b"host", b"x"), (b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([(b"host", b"x"), (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], "1.1", 501),
        ([(b"host", b"x"), (b"transfer-encoding", b"chunked, chunked")], "1.1", 400),
        ([(b"host", b"x"), (b"transfer-encoding", b"gzip")], "1.1", 400),
        ([(b"host", b"x"), (b"transfer-encoding", b"")], "1.1", 400),
        ([(b"host", b"x"), (b"transfer-encoding", b"chunked")], "1.0", 400),
    ],
)
def test_headers_that_frame_a_request_have_one_meaning(
    headers: list[tuple[bytes, bytes]], version: str, expected: int | None
) -> None:
    assert status(check_headers, headers, version) == expected


@pytest.mark.parametrize(
    ("method", "target", "result", "host"),
    [
        (b"GET", b"/a?b", b"/a?b", b"x"),
        (b"GET", b"//a", b"//a", b"x"),
        (b"OPTIONS", b"*", b"*", b"x"),
        (b"GET", b"http://h/a?b", b"/a?b", b"h"),
        (b"GET", b"HTTPS://h:1?b", b"/?b", b"h:1"),
        (b"GET", b"http://[::1]", b"/", b"[::1]"),
    ],
)
def test_an_absolute_target_names_the_host(method: bytes, target: bytes, result: bytes, host: bytes) -> None:
    headers = [(b"a", b"b"), (b"host", b"x")]
    assert origin_form(method, target, headers) == result
    assert sorted(headers) == [(b"a", b"b"), (b"host", host)]


@pytest.mark.parametrize(
    "target",
    [b"*", b"x", b"/#a", b"ftp://h/", b"http://", b"http:///a", b"http://u@h/", b"http://:80/", b"http://[::1"],
)
def test_other_targets_are_refused(target: bytes) -> None:
    assert status(origin_form, b"GET", target, []) == 400
