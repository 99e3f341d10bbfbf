"""Responses that the interface server makes itself."""

from __future__ import annotations

from channels_classic.interface_server.error_pages import RETRY_AFTER, page, refusal


def test_a_refusal_is_a_complete_response_that_ends_the_connection() -> None:
    assert refusal(400) == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 16\r\nconnection: close\r\n\r\n"
        b"400 Bad Request\n"
    )


def test_a_refused_upgrade_names_what_is_supported() -> None:
    head, _, _ = refusal(426).partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nupgrade: websocket\r\nsec-websocket-version: 13")


def test_only_the_page_of_an_unavailable_service_says_when_to_try_again() -> None:
    for status in (408, 413, 500, 503):
        headers, body = page(status)
        assert (b"content-length", b"%d" % len(body)) in headers
        assert (RETRY_AFTER in headers) == (status == 503)
