"""Nothing that a client sends can begin a line of the log or control a terminal; no secret is in one."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from channels_classic._log_escapes import KEEP_LINES, escape, protect_loggers
from channels_classic.layers.codec import Outcome
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.log import JSONFormatter, setup_logger
from tests.interface_server.live import Live, live

NASTY = "/a\n2026-01-01 - ERROR - forged\r\x1b[2J\x9b31m\u2028\u202e\x07\x00"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The lines that the interface server's logger writes, as a handler of a project shows it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("channels_classic.interface_server")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def open_nasty(server: Live) -> None:
    """A request and a socket for a path with control characters, which consumers answer with nonsense."""
    path = quote(NASTY)
    with server.raw() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server.consume("http.request", {"status": "x"})
        client.recv(65536)
    with server.raw() as client:
        handshake = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        client.sendall(handshake.encode())
        delivery = server.take("websocket.connect")
        server.layer.send(str(delivery.reply_channel), {"text": 5})
        server.report(delivery, Outcome.RAISED)
        client.recv(65536)


def test_paths_of_clients_stay_on_their_line(lines: io.StringIO) -> None:
    with live() as server:
        open_nasty(server)
    written = lines.getvalue()
    assert "A part of the response to GET /a" in written
    assert "A message for the WebSocket /a" in written
    assert not [line for line in written.split("\n") if line.startswith("2026")]
    assert not set(written) & set("\r\x1b\x9b\u2028\u202e\x07\x00")


@pytest.mark.parametrize("name", ["interface_server", "layers", "metrics", "worker"])
def test_all_loggers_of_the_package_escape(name: str, caplog: pytest.LogCaptureFixture) -> None:
    protect_loggers()
    protect_loggers()
    logger = logging.getLogger(f"channels_classic.{name}")
    logger.warning("of %s and %r: %d", "a\nb", "c\nd", 5)
    logger.warning("clean %s\twith a tab", "ä")
    assert [record.getMessage() for record in caplog.records] == [r"of a\nb and 'c\nd': 5", "clean ä\twith a tab"]
    assert caplog.records[1].args, "a clean record keeps its arguments, by which others group it"


def test_tables_of_our_own_keep_their_lines(caplog: pytest.LogCaptureFixture) -> None:
    protect_loggers()
    logging.getLogger("channels_classic.worker").warning("Table:\n%s", "a \x1b\nb", extra=KEEP_LINES)
    assert caplog.messages == ["Table:\na \\x1b\nb"]


def test_the_commands_protect_their_log() -> None:
    logger = logging.getLogger("django.channels")
    setup_logger("django.channels")
    assert [found for found in logger.filters if type(found).__name__ == "_EscapeControlCharacters"]


def test_what_is_printable_is_not_escaped() -> None:
    assert escape("/ä %s {x} 日本 \t") == "/ä %s {x} 日本 \t"
    assert escape("\x00\n\x7f\x85") == r"\x00\n\x7f\x85"


def test_half_of_a_surrogate_pair_loses_no_line(tmp_path: Path) -> None:
    """As `{"name": "\\ud800"}` puts it into the text of an error."""
    protect_loggers()
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    logger = logging.getLogger("django.channels")
    logger.addHandler(handler)
    try:
        logger.error("no %s", "a\ud800\u200f", exc_info=ValueError("bad \udfff"))
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text("utf-8") == "no a\\ud800\\u200f\nValueError: bad \\udfff\n"


def test_a_cookie_that_cannot_be_sent_is_not_shown(lines: io.StringIO) -> None:
    with live() as server, server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume("http.request", {"status": 200, "headers": [[b"set-cookie", b"sessionid=secret\n"]]})
        assert client.recv(65536).startswith(b"HTTP/1.1 500 ")
    assert "set-cookie" in lines.getvalue()
    assert "secret" not in lines.getvalue()


@pytest.fixture
def channels_log() -> Iterator[io.StringIO]:
    """The lines that the logger of consumers writes, as a handler of a project shows them."""
    protect_loggers()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("django.channels")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_the_text_of_an_error_begins_no_line_and_controls_no_terminal(channels_log: io.StringIO) -> None:
    try:
        raise ValueError("one\n2026-01-01 forged \x1b[2J") from KeyError("x\r2026")
    except ValueError as error:
        logging.getLogger("django.channels").error("failed", exc_info=error)
    written = channels_log.getvalue()
    assert "ValueError: one\n    2026-01-01 forged \\x1b[2J\n" in written
    assert not [line for line in written.split("\n") if line.startswith("2026")]
    assert not set(written) & set("\r\x1b")


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n", " \n\t"])
def test_the_text_of_an_error_that_ends_its_line_begins_no_line_either(channels_log: io.StringIO, end: str) -> None:
    logging.getLogger("django.channels").error("failed", exc_info=ValueError(f"bad\n2026-01-01 forged{end}"))
    assert "bad\n    2026-01-01 forged" in channels_log.getvalue()


@pytest.mark.parametrize("frame", ["x" * 4_000_000, "\x1b" * 1_000_000, "x\n" * 1_000_000])
def test_an_error_that_repeats_what_a_client_sent_is_cut(channels_log: io.StringIO, frame: str) -> None:
    handler = logging.StreamHandler(json_log := io.StringIO())
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("django.channels")
    logger.addHandler(handler)
    try:
        for kind in (KeyError, ValueError):
            logger.error("failed", exc_info=kind(frame))
    finally:
        logger.removeHandler(handler)
    assert 2000 < len(channels_log.getvalue()) < 50_000
    assert 2000 < len(json_log.getvalue()) < 50_000
    assert channels_log.getvalue().count(" characters)") == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have notes since Python 3.11")
def test_the_notes_of_an_error_begin_no_line_either(channels_log: io.StringIO) -> None:
    error = ValueError("bad")
    error.add_note("one\n2026-01-01 forged")  # type: ignore[attr-defined]  # see above
    logging.getLogger("django.channels").error("failed", exc_info=error)
    assert "bad\none\n    2026-01-01 forged\n" in channels_log.getvalue()


class Textless(Exception):
    """An error of a project whose text cannot be made, and that has a use of its own for `exceptions`."""

    exceptions = ("text", 5)

    def __str__(self) -> str:
        raise TypeError("no text")


def test_an_error_without_a_text_is_logged_like_any_other(channels_log: io.StringIO) -> None:
    logging.getLogger("django.channels").error("failed", exc_info=Textless())
    assert channels_log.getvalue().startswith("failed\n")
    assert "Textless: <exception str() failed>" in channels_log.getvalue()


def test_arguments_that_do_not_fit_their_line_fail_no_consumer(
    channels_log: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("django.channels"), "propagate", False)  # to pytest's handler, which raises
    logging.getLogger("django.channels").warning("%d sockets", "many")
    assert channels_log.getvalue() == ""
    assert "--- Logging error ---" in capsys.readouterr().err, "as the standard library reports it"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geheim@localhost:6379/0",
        "redis://user:geheim@localhost:6379/0",
        "redis://localhost:6379/0?password=geheim",
        "redis://localhost:6379/0?username=a&password=geheim&socket_timeout=1",
        "unix:///tmp/redis.sock?db=1&password=geheim",
        "rediss://:geheim@localhost:6379/0",
    ],
)
def test_a_password_in_the_url_of_a_layer_is_not_shown(url: str) -> None:
    layer = RedisChannelLayer(hosts=[url], symmetric_encryption_keys=["schluessel"])
    for shown in (str(layer), repr(layer), repr(vars(layer))):
        assert "geheim" not in shown
        assert "schluessel" not in shown
