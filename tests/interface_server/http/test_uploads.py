"""Request bodies through real processes: complete before a worker sees them, and there as often as they are wanted."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.streaming_project import StreamingSite, streaming_site
from tests.support.waiting import scaled

BODY = bytes(range(256)) * 20_000
"""Five megabytes, of which a request carries the first 512 KiB."""

DIGEST = f"{len(BODY)} {hashlib.sha256(BODY).hexdigest()}".encode()

MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nMy Book\r\n'
    b'--B\r\nContent-Disposition: form-data; name="pdf"; filename="book.pdf"\r\n\r\n%s\r\n--B--\r\n'
)


@pytest.fixture(scope="module", params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[StreamingSite]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    with streaming_site(url, options=("--max-body", "20000000")) as running:
        yield running
        assert "Traceback" not in running.output, running.output


def slow_upload(site: StreamingSite, path: str = "/nowhere") -> object:
    """A connection on which a large body begins and does not end."""
    return site.connect(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n".encode() + b"x" * 700_000
    )


def test_slow_uploads_hold_no_worker(site: StreamingSite) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(slow_upload(site))  # type: ignore[arg-type]
        started = time.monotonic()
        assert site.get() == (200, "a page")
        assert time.monotonic() - started < scaled(5)


@pytest.mark.parametrize("path", ["/digest", "/twice", "/session", "/passed-on", "/put-back"])
def test_a_large_body_can_be_read_as_often_as_wanted(site: StreamingSite, path: str) -> None:
    response, content = site.ask("POST", path, BODY)
    assert (response.status, content) == (200, DIGEST)


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_chunked_form_is_parsed(site: StreamingSite, size: int) -> None:
    body = MULTIPART % (b"x" * size)
    chunks = (body[position : position + 100_000] for position in range(0, len(body), 100_000))
    response, content = site.ask("POST", "/form", chunks, **{"Content-Type": "multipart/form-data; boundary=B"})
    assert (response.status, content) == (200, f"title=My Book;pdf={size};{len(body)}".encode())


@pytest.mark.parametrize(
    "content_type", ["text/plain; x*=bogus''%41", "text/plain; x*=utf-8''%ff; y*=a''", "multipart/form-data; b*=x''%41"]
)
def test_a_content_type_that_cannot_be_parsed_is_a_bad_request(site: StreamingSite, content_type: str) -> None:
    response, _ = site.ask("POST", "/digest", b"a=1", **{"Content-Type": content_type})
    assert response.status in (200, 400)
    assert "Traceback" not in site.output


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(site: StreamingSite) -> None:
    with site.connect(b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 20000001\r\n\r\n") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_that_grows_too_large_is_refused(site: StreamingSite) -> None:
    with site.connect(b"POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") as client:
        chunk = b"F4240\r\n" + b"x" * 1_000_000 + b"\r\n"
        for _ in range(21):
            client.sendall(chunk)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_bodies_that_find_no_room_are_refused_with_503_and_others_are_served() -> None:
    with streaming_site(options=("--spool-disk", "2000000")) as site:
        response, _ = site.ask("POST", "/digest", BODY)
        assert response.status == 503
        assert response.getheader("retry-after")
        site.interface.wait_for_line("The body of POST /digest was refused with 503: .* --spool-disk")
        chunks = (b"x" * 500_000 for _ in range(10))
        response, _ = site.ask("POST", "/digest", chunks)
        assert response.status == 503
        assert site.ask("POST", "/digest", BODY[:1_000_000])[0].status == 200, "the room of the others is free again"


def test_large_bodies_one_after_another_leave_descriptors_for_clients() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))  # inherited
    try:
        with streaming_site() as site:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(150):  # each is kept for a minute, unless another needs its place
                assert site.ask("POST", "/digest", BODY[:600_000])[0].status == 200
            assert "Too many open files" not in site.output
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_body_that_takes_too_long_is_refused_with_408() -> None:
    with streaming_site(workers=0, options=("--body-timeout", "1")) as site, slow_upload(site) as client:  # type: ignore[attr-defined]
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_body_is_still_there_when_its_client_has_left() -> None:
    head = f"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    with streaming_site(workers=0) as site:
        with site.connect(head + BODY) as client:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(1)
        with site.project.run("runworker", "-v", "2") as worker:
            worker.wait_for_line("http.request -> .*: consumed")
            assert "Traceback" not in worker.output
