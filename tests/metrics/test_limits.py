"""Every limit of an interface server on its clients: reached over a real socket, and seen by an operator.

The metrics of the process have it, and `manage.py channels` shows it for the site.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from channels_classic._metrics.program import ProgramMetrics
from channels_classic.exceptions import ChannelFull
from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.config import ClientLimits
from channels_classic.interface_server.layer import announcements, session
from channels_classic.interface_server.server import request_limits, uvicorn_server
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.interface_server.websocket import rates
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.limits import LIMITS as ANNOUNCED
from channels_classic.layers.status import read
from channels_classic.layers.steps import Take
from channels_classic.management.status_tables import text
from tests.interface_server.live import Live, running
from tests.metrics.scrape import Scrape
from tests.support.redis_server import free_port
from tests.support.waiting import eventually, scaled

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
LONG_LINE, LONG_HEAD = b"GET /" + b"x" * 99, HEAD + b"X: " + b"x" * 99 + b"\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
LARGE_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n"
UPGRADE = HEAD + (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n"
)


@contextmanager
def measured(
    interface: dict[str, Any], limits: dict[str, Any], layer: dict[str, Any]
) -> Iterator[tuple[Live, Callable[[], Scrape]]]:
    """A server with a port for metrics, and a way to read them."""
    port = free_port()
    memory = ChannelLayer(**layer)
    config = InterfaceConfig(**interface)
    server = Server(InterfaceServer(memory, config), config, Listen(port=0), ClientLimits(**limits))
    with running(server, memory) as live, ProgramMetrics(f"127.0.0.1:{port}", memory, server.samples):
        yield live, lambda: Scrape(port)


def send(*parts: bytes) -> Callable[[Live], None]:
    """Send bytes, and read until the server closes the connection."""

    def act(server: Live) -> None:
        with server.raw() as client, suppress(ConnectionError):
            for part in parts:
                client.sendall(part)
            while client.recv(65536):
                pass

    return act


def ask(server: Live) -> None:
    connection = server.http()
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()


def handshake(server: Live) -> None:
    with suppress(Exception):  # whichever way it is refused
        server.handshake()


def sleep_after_handshake(server: Live) -> None:
    with server.websocket() as client, suppress(Exception):
        client.recv(scaled(10))


def large_frame(server: Live) -> None:
    with server.websocket() as client, suppress(Exception):
        client.send("x" * 1000)
        client.recv(scaled(10))


def frames_that_nobody_takes(server: Live) -> None:
    with server.websocket() as client, suppress(Exception):
        for number in range(5):
            client.send(str(number))
        client.recv(scaled(10))


def read_nothing(server: Live) -> None:
    with server.websocket(max_queue=1, close_timeout=0.1) as client:
        client.send("go")
        delivery = server.take("websocket.receive")

        def closed() -> bool:
            with suppress(ChannelFull):
                server.layer.send(str(delivery.reply_channel), {"bytes": b"x" * 200_000})
            return bool(server.session.stats.cut_off)

        eventually(closed)
        server.report(delivery)


def hold_much(server: Live) -> None:
    with server.raw() as client:
        client.sendall(UPGRADE)
        server.consume("websocket.connect", {"accept": True})
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
        with suppress(ConnectionError):  # a message without an end
            client.sendall(b"\x02\xff" + (900_000).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 900_000)
        server.take("websocket.disconnect")


def read_no_response(server: Live) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(HEAD + b"\r\n")
        delivery = server.take("http.request")
        for number in range(10):
            part = {"content": b"x" * 1_000_000, "more_content": True, **({"status": 200} if not number else {})}
            server.layer.send(str(delivery.reply_channel), part)
        eventually(lambda: server.session.stats.cut_off)


def one_too_many(server: Live) -> None:
    with server.raw() as first:
        first.sendall(b"GET")
        eventually(lambda: len(server.connections) == 1)
        ask(server)


def fill(server: Live) -> None:
    for _ in range(2):
        with suppress(ChannelFull):
            server.layer.send("jobs", {})


def handshakes_in_a_hurry(server: Live) -> None:
    with server.raw() as first, server.raw() as second:
        first.sendall(UPGRADE)
        server.take("websocket.connect")
        second.sendall(UPGRADE)
        assert second.recv(65536).startswith(b"HTTP/1.1 503 ")


def handshake_beside_another(server: Live) -> None:
    with server.websocket():
        handshake(server)


def flood(server: Live) -> None:
    with server.websocket() as client, suppress(ConnectionClosed):
        for _ in range(500):
            client.send("x")
        while client.close_code is None:
            (taken,) = server.layer.run([Take(["websocket.receive"], 1, 0.1)])
            for delivery in server.layer.open(taken)[0] if taken is not None else ():
                server.report(delivery)


def answer_no_ping(server: Live) -> None:
    with server.raw() as client:
        client.sendall(UPGRADE)
        server.consume("websocket.connect", {"accept": True})
        with suppress(ConnectionError):
            while client.recv(65536):
                pass
        server.take("websocket.disconnect")


CLOSED, CUT_OFF, REFUSED = "sockets_closed_total", "clients_cut_off_total", "refused_requests_total"
HANDSHAKES, REQUESTS = "handshake_duration_seconds_count", "request_duration_seconds_count"

LIMITS: dict[str, tuple[dict[str, dict[str, Any]], Callable[[Live], None], str, dict[str, str]]] = {
    "max_request_line": ({"limits": {"max_request_line": 50}}, send(LONG_LINE), REFUSED, {"status": "414"}),
    "max_head": (
        {"limits": {"max_head": 99}},
        send(HEAD + b"X: " + b"x" * 99 + b"\r\n\r\n"),
        REFUSED,
        {"status": "431"},
    ),
    "head_timeout": ({"limits": {"head_timeout": 0.2}}, send(HEAD), REFUSED, {"status": "408"}),
    "invalid": ({}, send(b"nonsense\r\n\r\n"), REFUSED, {"status": "400"}),
    "max_connections": ({"limits": {"max_connections": 1}}, one_too_many, REFUSED, {"status": "503"}),
    "max_body": ({"interface": {"max_body": 10}}, send(POST), REQUESTS, {"status": "413"}),
    "body_timeout": ({"interface": {"body_timeout": 0.2}}, send(POST), REQUESTS, {"status": "408"}),
    "http_timeout": ({"interface": {"http_timeout": 0.2}}, ask, REQUESTS, {"status": "503"}),
    "max_response": (
        {"interface": {"max_response": 3_000_000}},
        read_no_response,
        CUT_OFF,
        {"reason": "slow_response"},
    ),
    "stall_timeout": ({"interface": {"stall_timeout": 0.3}}, read_no_response, CUT_OFF, {"reason": "slow_response"}),
    "websocket_connect_timeout": (
        {"interface": {"websocket_connect_timeout": 0.2}},
        handshake,
        HANDSHAKES,
        {"outcome": "403"},
    ),
    "websocket_timeout": ({"interface": {"websocket_timeout": 0.2}}, sleep_after_handshake, CLOSED, {"code": "1000"}),
    "max_message": ({"limits": {"max_message": 100}}, large_frame, CLOSED, {"code": "1009"}),
    "connect_rate": ({"limits": {"connect_rate": 0.1}}, handshakes_in_a_hurry, REFUSED, {"status": "503"}),
    "body_rate": ({}, send(POST), REFUSED, {"status": "408"}),
    "spool_disk": (
        {"interface": {"spool_memory": 1, "spool_disk": 1}},
        send(LARGE_POST, b"x" * 600_000),
        REQUESTS,
        {"status": "503"},
    ),
    "sockets_per_address": (
        {"interface": {"sockets_per_address": 1}},
        handshake_beside_another,
        HANDSHAKES,
        {"outcome": "429"},
    ),
    "frame_rate": ({"interface": {"frame_rate": 5}}, flood, CLOSED, {"code": "1008"}),
    "ping_timeout": (
        {"interface": {"ping_interval": 0.1, "ping_timeout": 0.2}},
        answer_no_ping,
        CLOSED,
        {"code": "1011"},
    ),
    "waiting_bytes": (
        {"interface": {"waiting_bytes": 1, "waiting_timeout": 0.2}},
        frames_that_nobody_takes,
        CUT_OFF,
        {"reason": "stalled"},
    ),
    "waiting_timeout": (
        {"interface": {"waiting_frames": 1, "waiting_timeout": 0.2}},
        frames_that_nobody_takes,
        CUT_OFF,
        {"reason": "stalled"},
    ),
    "send queue": ({}, read_nothing, CUT_OFF, {"reason": "slow_socket"}),
    "socket_memory": ({"interface": {"socket_memory": 500_000}}, hold_much, CUT_OFF, {"reason": "memory"}),
    "capacity": ({"layer": {"capacity": 1}}, fill, "channel_refused_sends_total", {"channel": "jobs"}),
}
"""A way to reach each limit → the metric that moves."""

EXEMPT = {
    "byte_rate": "as frame_rate",
    "waiting_frames": "with waiting_timeout",
    "spool_memory": "beyond it there are files",
    "ping_interval": "with ping_timeout",
    "keep_alive": "ends what nobody uses",
    **dict.fromkeys(("health_path", "ready_worker", "ws_protocols", "compression", "event_streams"), "no limit"),
    **dict.fromkeys(("root_path", "proxy_headers", "root_path_header", "forwarded_allow_ips"), "no limit"),
}
"""The other options of an interface server, and why they have no case of their own."""

NAMES = {REFUSED: "refused", REQUESTS: "request", HANDSHAKES: "handshake", CLOSED: "closed", CUT_OFF: "cut_off"}
"""The first word of a limit in `manage.py channels`, by the metric."""


SHOWN = {
    "capacity": r"^  jobs +1 .* 1$",
    "websocket_timeout": r"^Interface servers$",
}
"""Lines of `manage.py channels` for those that have another place: sockets that ended are no longer counted there."""


def test_every_limit_is_reached() -> None:
    options = {option.name for option in (*fields(InterfaceConfig), *fields(ClientLimits))}
    assert options - set(EXEMPT) - set(LIMITS) == set()
    assert set(ANNOUNCED) >= {
        f"{NAMES[metric]} {next(iter(labels.values()))}"
        for name, (_, _, metric, labels) in LIMITS.items()
        if name not in SHOWN
    }


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_that_is_reached_moves_a_metric_and_is_shown(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    intervals = [(announcements, "ANNOUNCE_INTERVAL"), (session, "HEARTBEAT_INTERVAL"), (rates, "FLOOD_TIMEOUT")]
    if limit == "body_rate":
        intervals.append((request_limits, "RATE_INTERVAL"))
    for module, name in intervals:
        monkeypatch.setattr(module, name, 0.2)
    monkeypatch.setattr(uvicorn_server, "SAMPLES_TIMEOUT", scaled(2))
    options, reach, metric, labels = LIMITS[limit]
    with measured(*(options.get(name, {}) for name in ("interface", "limits", "layer"))) as (server, scrape):
        assert scrape().value(metric, **labels) == 0
        reach(server)
        eventually(lambda: scrape().value(metric, **labels) == 1)
        shown = SHOWN[limit] if limit in SHOWN else rf"^  {NAMES[metric]} {next(iter(labels.values()))} +1 +\w"
        eventually(lambda: re.search(shown, text(read(server.layer)), re.M))


def test_what_waits_is_counted_while_it_waits() -> None:
    with measured({}, {}, {}) as (server, scrape), server.websocket() as client:
        for number in range(4):
            client.send(f"frame {number}")
        deliveries = [server.take("websocket.receive")]
        eventually(lambda: scrape().value("waiting_frames") == 3)
        assert scrape().value("waiting_bytes", direction="in") == 3 * len("frame 0")
        for _ in range(3):
            server.report(deliveries[-1])
            deliveries.append(server.take("websocket.receive"))
        assert (scrape().value("waiting_frames"), scrape().value("waiting_bytes")) == (0, 0)
        server.report(deliveries[-1])


def test_what_a_slow_client_has_yet_to_read_is_counted() -> None:
    with measured({}, {}, {}) as (server, scrape), server.websocket(max_queue=1, close_timeout=0.1) as client:
        client.send("go")
        delivery = server.take("websocket.receive")

        def waits() -> bool:
            server.layer.send(str(delivery.reply_channel), {"bytes": b"x" * 200_000})
            return scrape().value("waiting_bytes", direction="out") > 200_000

        eventually(waits)
        server.report(delivery)


def test_a_handshake_that_finds_its_channel_full_waits_too() -> None:
    with measured({"websocket_connect_timeout": 30}, {}, {"capacity": 1}) as (server, scrape), server.raw() as client:
        server.layer.send("websocket.connect", {})
        client.sendall(UPGRADE)
        eventually(lambda: scrape().value("waiting_frames") == 1)
        server.take("websocket.connect")
        server.report(server.take("websocket.connect"))
        eventually(lambda: scrape().value("waiting_frames") == 0)
