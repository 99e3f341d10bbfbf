"""Responses in parts through real processes: nobody waits for a slow reader, and what nobody reads ends."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.streaming_project import StreamingSite, streaming_site
from tests.support.waiting import eventually, scaled


@pytest.fixture(scope="module", params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[StreamingSite]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    with streaming_site(url) as running:
        yield running
        assert "Traceback" not in running.output, running.output


def count(site: StreamingSite, line: str) -> int:
    return site.output.count(line)


def begun(client: socket.socket) -> bytes:
    """Return the bytes that came so far, once the content has begun."""
    found = b""
    while not found.partition(b"\r\n\r\n")[2]:
        part = client.recv(65536)
        assert part, "the connection ended before the content"
        found += part
    return found


def everything(client: socket.socket) -> bytes:
    """Return the bytes up to the end of the connection."""
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def received(client: socket.socket, size: int) -> bytes:
    """At least this many bytes."""
    found = b""
    while len(found) < size:
        part = client.recv(65536)
        assert part, f"the connection ended after {len(found)} bytes"
        found += part
    return found


@pytest.mark.parametrize("path", ["ticks", "torrent", "async-ticks", "async-rare"])
def test_a_stream_is_closed_within_a_second_after_its_client_left(site: StreamingSite, path: str) -> None:
    name = path.partition("-")[0]
    before = count(site, f"{name} is closed")
    with site.request(f"/{path}") as client:
        begun(client)
    eventually(lambda: count(site, f"{name} is closed") > before, timeout=1)
    assert site.get() == (200, "a page")


def test_an_async_stream_whose_client_left_is_cancelled(site: StreamingSite) -> None:
    before = count(site, "async is cancelled")
    with site.request("/async-rare") as client:
        begun(client)
    eventually(lambda: count(site, "async is cancelled") > before)


def test_an_async_stream_is_sent_part_by_part(site: StreamingSite) -> None:
    with site.request("/async-three") as client:
        first = begun(client)
        while b"tick 0" not in first:
            first += client.recv(65536)
        assert b"tick 2" not in first  # it comes a second later
        while b"tick 2" not in first:
            first += client.recv(65536)


@pytest.mark.parametrize(
    "path", ["/torrent", "/ticks", "/async-rare", "/large/100", "/whole/5", "/empty/204", "/empty/304"]
)
def test_head_never_runs_the_generator_and_holds_no_worker(site: StreamingSite, path: str) -> None:
    before = count(site, "begins")
    started = time.monotonic()
    _, content = site.ask("HEAD", path)
    assert content == b""
    assert site.get() == (200, "a page")
    assert time.monotonic() - started < scaled(5)
    assert count(site, "begins") == before


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_that_has_no_content_runs_no_generator(site: StreamingSite, status: int) -> None:
    before = count(site, "begins")
    response, content = site.ask("GET", f"/empty/{status}")
    assert (response.status, content) == (status, b"")
    assert site.get() == (200, "a page")
    assert count(site, "begins") == before


def test_a_file_arrives_with_its_length_and_is_closed(site: StreamingSite) -> None:
    before = count(site, "file is closed")
    response, content = site.ask("GET", "/file")
    assert content == b"f" * 5_000_000
    assert response.getheader("content-length") == "5000000"
    response, content = site.ask("HEAD", "/file")
    assert (response.getheader("content-length"), content) == ("5000000", b"")
    response, content = site.ask("GET", "/part-of-file")
    assert (response.status, len(content)) == (206, 3_000_000)
    eventually(lambda: count(site, "file is closed") == before + 3)


def test_a_conditional_response_is_not_made_for_who_has_it(site: StreamingSite) -> None:
    response, content = site.ask("GET", "/conditional")
    assert (response.status, content) == (200, b"partpartpart")
    response, content = site.ask("GET", "/conditional", **{"If-None-Match": '"one"'})
    assert (response.status, content) == (304, b"")


def test_slow_readers_hold_no_worker(site: StreamingSite) -> None:
    with ExitStack() as stack:
        for path in ("/large/20", "/whole/20"):
            stack.enter_context(site.request(path))
        started = time.monotonic()
        assert site.get() == (200, "a page")
        assert time.monotonic() - started < scaled(5)


def test_a_slow_reader_gets_everything_in_the_end(site: StreamingSite) -> None:
    with site.request("/large/20") as client:
        assert site.get() == (200, "a page")
        assert len(received(client, 20_000_000)) < 20_100_000 + 65536


def test_a_view_can_ask_whether_its_client_left(site: StreamingSite) -> None:
    before = count(site, "long begins")
    with site.request("/long"):
        eventually(lambda: count(site, "long begins") > before)
    eventually(lambda: count(site, "long sees that the client left") > before)


def test_the_client_that_is_too_far_behind_is_cut_off_and_others_are_served() -> None:
    with streaming_site(options=("--max-response", "5000000")) as site, site.request("/torrent"):
        site.interface.wait_for_line("cut off")
        assert site.get() == (200, "a page")
        site.workers[0].wait_for_line("torrent is closed")


def test_the_slowest_is_cut_off_when_there_is_no_room_for_all() -> None:
    with streaming_site(options=("--spool-disk", "20000000")) as site, site.request("/large/20") as first:
        site.workers[0].wait_for_line("large is closed")
        with site.request("/large/20") as second:
            site.workers[0].wait_for_line("large is closed", occurrences=2)
            assert len(received(second, 20_000_000)) > 0
        with pytest.raises((AssertionError, ConnectionResetError)):
            received(first, 20_000_000)
        assert site.get() == (200, "a page")


@pytest.mark.parametrize("path", ["ticks", "async-rare", "async-ticks"])
def test_sigterm_ends_a_stream_and_its_worker(path: str) -> None:
    with streaming_site() as site, site.request(f"/{path}") as client:
        begun(client)
        started = time.monotonic()
        worker = site.workers[0]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0, worker.output
        assert time.monotonic() - started < scaled(5)
        assert "is closed" in worker.output
        assert "Traceback" not in worker.output


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_that_sigterm_cuts_off_does_not_look_complete(version: str) -> None:
    with streaming_site() as site, site.connect(f"GET /ticks HTTP/{version}\r\nHost: x\r\n\r\n".encode()) as client:
        begun(client)
        worker = site.workers[0]
        worker.send_signal(signal.SIGTERM)
        last = b"tick"
        with pytest.raises(ConnectionResetError):
            last = everything(client)
        assert not last.endswith(b"0\r\n\r\n")
        assert worker.wait(10) == 0, worker.output
        worker.wait_for_line("The response to GET /ticks was cut off")


@pytest.mark.parametrize("path", ["async-soon", "soon"])
def test_a_stream_that_ends_soon_after_sigterm_is_complete(path: str) -> None:
    with streaming_site() as site, site.request(f"/{path}") as client:
        begun(client)
        worker = site.workers[0]
        worker.send_signal(signal.SIGTERM)
        received = b""
        while part := client.recv(65536):
            received += part
            if received.endswith(b"0\r\n\r\n"):
                break
        assert b"tick 2" in received
        assert received.endswith(b"0\r\n\r\n")
        assert worker.wait(10) == 0, worker.output
        assert "cut off" not in worker.output


def test_a_slow_stream_lives_as_long_as_its_client_reads() -> None:
    settings = 'CHANNEL_LAYERS["default"].setdefault("CONFIG", {})["expiry"] = 2\n'
    with streaming_site(settings=settings, options=("--http-timeout", "3")) as site, site.request("/ticks") as client:
        began = time.monotonic()
        while time.monotonic() - began < 8:
            assert client.recv(65536)
        assert count(site, "ticks is closed") == 0
