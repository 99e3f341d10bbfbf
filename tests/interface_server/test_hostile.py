"""Thousands of hostile clients, and consumers that reply nonsense.

Nothing breaks, nothing is left behind, and the next good client is served.

`make hostile` sends 50,000; here are fewer. Meanwhile another client is served, whose slowest answer is printed at the
end, with what the process grew by.
"""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from channels_classic.exceptions import InvalidMessage
from channels_classic.interface_server.server.listen import Listen
from channels_classic.layers.codec import Outcome
from tests.interface_server.hostile import KINDS, End, Input, attack, inputs, stalls
from tests.interface_server.live import Live, live
from tests.interface_server.server.test_limits import FAULTS, HEAD, UPGRADE
from tests.interface_server.server.test_program import certificate
from tests.support.waiting import eventually, scaled

__all__ = ["certificate"]

TOGETHER = 20
COUNT = int(os.environ.get("HOSTILE", "400"))
"""Hostile clients in all."""

CHANNELS = ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect", "http.disconnect"]


@contextmanager
def answering(server: Live) -> Iterator[None]:
    """A worker that answers every request, accepts every socket and sends every frame back."""
    stop = threading.Event()

    def answer(channel: str, message: dict[str, Any]) -> None:
        replies: dict[str, dict[str, Any]] = {
            "http.request": {"status": 200, "content": b"ok"},
            "websocket.connect": {"accept": True},
            "websocket.receive": {key: message[key] for key in ("text", "bytes") if key in message},
        }
        if channel in replies and message.get("path") != "/undecided":
            server.layer.send(message["reply_channel"], replies[channel])

    def work() -> None:
        while not stop.is_set():
            channel, message = server.layer.receive(CHANNELS, block=True)
            if channel is not None and message is not None and "reply_channel" in message:
                answer(channel, message)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        server.layer.send("http.request", {"path": ""})
        worker.join()


@contextmanager
def witness(server: Live, tls: bool = False) -> Iterator[Counter[str]]:
    """Another client, which asks again and again while others are hostile. Gives a counter of those, by kind."""
    stop, answers, kinds = threading.Event(), [], Counter[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def ask() -> None:
        while not stop.wait(0.05):
            begun = time.monotonic()
            assert status_line(server, tls).startswith(b"HTTP/1.1 200 ")
            answers.append(time.monotonic() - begun)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield kinds
        finally:
            stop.set()
            asking.result()
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    table = "".join(f"{number:8} {kind}\n" for kind, number in sorted(kinds.items()))
    sys.stdout.write(
        f"\n{kinds.total()} hostile clients:\n{table}{len(answers)} answers to another one, the slowest after "
        f"{max(answers):.3f} s; the process grew by {growth} MiB\n"
    )
    assert max(answers) < scaled(5.0)
    assert growth < 300


def status_line(server: Live, tls: bool) -> bytes:
    """Ask for a page; return the beginning of the response."""
    with ExitStack() as stack:
        client = stack.enter_context(server.raw())
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            client = stack.enter_context(context.wrap_socket(client))
        client.sendall(b"GET /witness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.recv(65536)


def left_behind(server: Live) -> list[object]:
    """Return the connections that are open, and the clients that the session knows."""
    return [*server.connections, *server.session.registry.everybody()]


def be_good(server: Live) -> None:
    """Be served as a request and as a socket."""
    connection = server.http()
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"ok"
    connection.close()
    with server.handshake() as client:
        client.send("hello")
        assert client.recv(10) == "hello"


def in_rounds(count: int, clients: st.SearchStrategy[Input], round_of: Callable[[list[Input]], None]) -> None:
    """Call `round_of` with hostile clients, `TOGETHER` at a time.

    Hypothesis keeps what it has drawn: after some hundred clients it begins anew, so that the memory of this process is
    that of the server.
    """
    while count > 0:
        some, count = min(count, 500), count - 500
        settings(
            max_examples=max(some // TOGETHER, 1),
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )(given(st.lists(clients, min_size=TOGETHER, max_size=TOGETHER))(round_of))()


# The server draws the payloads of its pings while Hypothesis draws, in another thread.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module", "ignore:Generating overly large repr")
@pytest.mark.timeout(0 if COUNT > 400 else 120)
def test_hostile_clients_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    limits = {"head_timeout": scaled(1), "keep_alive": 0.3}  # also the time of the witness
    options: dict[str, Any] = {
        "ping_interval": 0.2,
        "ping_timeout": scaled(1),
        "websocket_connect_timeout": scaled(1.0),
    }
    with live(limits=limits, **options) as server, answering(server), witness(server) as kinds:

        def round_of(some: list[Input]) -> None:
            kinds.update(one.kind for one in some)
            asyncio.run(attack(server.port, some, timeout=0.05))
            be_good(server)
            assert "Traceback" not in caplog.text, some
            caplog.clear()

        in_rounds(COUNT, inputs, round_of)
        eventually(lambda: not left_behind(server), timeout=10)
        assert kinds.keys() == KINDS.keys()
    assert "Traceback" not in caplog.text


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.timeout(0 if COUNT > 400 else 120)
def test_tls_handshakes_that_stall_break_nothing(certificate: Path, caplog: pytest.LogCaptureFixture) -> None:
    listen = Listen(port=0, certfile=str(certificate))
    with (
        live(listen=listen, limits={"head_timeout": scaled(1)}) as server,
        answering(server),
        witness(server, tls=True) as kinds,
    ):

        def round_of(some: list[Input]) -> None:
            kinds.update(one.kind for one in some)
            asyncio.run(attack(server.port, some, timeout=0.05))
            assert "Traceback" not in caplog.text, some
            caplog.clear()

        in_rounds(COUNT // 10, stalls, round_of)
        eventually(lambda: not left_behind(server) and not server.handshakes, timeout=10)
    assert "Traceback" not in caplog.text


def test_a_flood_of_connections_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    flood = [Input((data,), end) for data in (b"", HEAD, UPGRADE, HEAD + b"\r\n", *FAULTS.values()) for end in End]
    limits = {"head_timeout": scaled(1), "keep_alive": 0.3}
    with live(limits=limits, ping_interval=0.2, ping_timeout=scaled(1)) as server, answering(server):
        for _ in range(3):
            asyncio.run(attack(server.port, flood, timeout=0.1))
        be_good(server)
        eventually(lambda: not left_behind(server), timeout=10)
    assert "Traceback" not in caplog.text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
PAIRS = st.lists(
    st.lists(st.sampled_from(["content-length", b"2", "3", "connection", "close", b"a"]) | VALUES, max_size=3)
)
BEGINNINGS = st.sampled_from([[], [{"accept": True}], [{"status": 200, "content": b"a", "more_content": True}]])
REPLIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from([200, 204, 304, 500]) | VALUES,
            "headers": PAIRS | VALUES,
            "content": st.binary(max_size=5) | VALUES,
            "more_content": st.booleans() | VALUES,
            "closed": VALUES,
            "question": VALUES
            | st.fixed_dictionaries(
                {}, optional={"channel": st.just("answers") | VALUES, "number": VALUES, "offset": VALUES}
            ),
        },
    )
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("accept", "text", "bytes", "close"), VALUES))
    | st.dictionaries(st.text(max_size=5) | st.integers(0, 9) | st.binary(max_size=5), VALUES, max_size=3),
    max_size=4,
)


@pytest.mark.filterwarnings("ignore:Do not use the `random` module", "ignore:Generating overly large repr")
@pytest.mark.timeout(0 if COUNT > 400 else 120)
def test_replies_of_every_kind_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with live() as server:

        @settings(max_examples=COUNT // 4, suppress_health_check=list(HealthCheck), database=None)
        @given(BEGINNINGS, REPLIES, st.sampled_from([(HEAD + b"\r\n", "http.request"), (UPGRADE, "websocket.connect")]))
        def replies(begin: list[dict[Any, Any]], some: list[dict[Any, Any]], kind: tuple[bytes, str]) -> None:
            with server.raw() as client:
                client.sendall(kind[0])
                delivery = server.take(kind[1])
                for reply in begin + some:
                    with suppress(InvalidMessage):
                        server.layer.send(str(delivery.reply_channel), reply)
                server.report(delivery, Outcome.RAISED)  # what is undecided now is refused
                with suppress(ConnectionResetError):
                    assert client.recv(65536)[:5] in (b"HTTP/", b"")
            assert "Traceback" not in caplog.text, begin + some
            caplog.clear()

        replies()
        with answering(server):
            be_good(server)
            eventually(lambda: not left_behind(server), timeout=10)
    assert "Traceback" not in caplog.text
