"""Probes and systemd: the state of real programs, from their start to their end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from channels_classic._health import Health, answer
from channels_classic._options import parse_address
from channels_classic._systemd import Notifier, WatchdogTimer
from channels_classic.interface_server.server import uvicorn_server
from tests.interface_server.live import live
from tests.support.commands import run_command
from tests.support.redis_server import RedisServer, free_port
from tests.support.running_site import FOLDER, RunningSite
from tests.support.waiting import eventually, scaled

PROCESSES = pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["alone", "supervised"])


def probe(port: int, path: str = "/ready", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(10))
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode().strip()
    except ConnectionRefusedError:
        return 0, "refused"
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("state", "live", "ready"),
    [
        (Health.READY, 200, 200),
        (Health.STARTING, 200, 503),
        (Health.LAYER_DOWN, 200, 503),
        (Health.STOPPING, 200, 503),
        (Health.STUCK, 503, 503),
    ],
)
def test_each_state_has_its_answers(state: Health, live: int, ready: int) -> None:
    assert answer(state, "/live") == (live, f"{state.value}\n".encode())
    assert answer(state, "/ready", "HEAD")[0] == ready
    assert answer(state, "/ready", "POST")[0] == 405
    assert answer(state, "/other")[0] == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:80", ("::1", 80)),
        ("example.org:65535", ("example.org", 65535)),
    ],
)
def test_addresses_are_understood(text: str, expected: tuple[str, int]) -> None:
    assert parse_address("--health", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8001",
        ":8001",
        "::1:80",
        "[::1]",
        "127.0.0.1:８0",
        "127.0.0.1",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
    ],
)
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--health is .*expected a host and a port"):
        parse_address("--health", text)


@pytest.mark.parametrize("command", ["runinterface", "runworker"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--health", "8001"), "--health is '8001': expected a host and a port"),
        (("--health", "{taken}"), "for --health: Address already in use. Another program listens there, or this one"),
        (("--health", "{free}", "--metrics", "{free}"), "choose another port for --metrics"),
    ],
)
def test_an_address_that_cannot_be_had_ends_the_program_before_it_starts(
    redis_server: RedisServer, command: str, options: tuple[str, ...], sentence: str
) -> None:
    places = {"taken": f"127.0.0.1:{redis_server.port}", "free": f"127.0.0.1:{free_port()}"}
    port = ("--port", "0") if command == "runinterface" else ()
    program = run_command(
        ["manage.py", command, *port, *(option.format(**places) for option in options)],
        FOLDER,
        {"REDIS_URL": redis_server.url},
    )
    assert program.status == 1
    assert sentence in program.output
    assert "INFO" not in program.output  # it has not said that it serves
    assert "Running" not in program.output


def wait_for_readiness(port: int, expected: tuple[int, str]) -> None:
    eventually(lambda: probe(port) == expected, timeout=20)


@PROCESSES
def test_interface_servers_and_workers_are_ready_while_their_layer_is_there(
    own_redis: RedisServer, options: tuple[str, ...]
) -> None:
    ports = interface, work = free_port(), free_port()
    with RunningSite(own_redis.url, workers=0, options=("--health", f"127.0.0.1:{interface}", *options)) as site:
        worker = site.run("runworker", "--health", f"127.0.0.1:{work}", *options)
        for port in ports:
            wait_for_readiness(port, (200, "ok"))
            assert probe(port, method="HEAD") == (200, "")
        own_redis.stop()
        for port in ports:
            wait_for_readiness(port, (503, "the channel layer is down"))
            assert probe(port, "/live")[0] == 200
        own_redis.start()
        for port in ports:
            wait_for_readiness(port, (200, "ok"))
        assert worker.stop() == 0
        assert probe(work) == (0, "refused")


@PROCESSES
def test_a_server_that_asks_for_a_worker_is_ready_while_one_announces_itself(
    redis_url: str, options: tuple[str, ...]
) -> None:
    port = free_port()
    with RunningSite(
        redis_url, workers=0, options=("--health", f"127.0.0.1:{port}", "--ready-worker", "8", *options)
    ) as site:
        wait_for_readiness(port, (503, "no worker was heard of"))
        assert probe(port, "/live")[0] == 200
        worker = site.run("runworker")
        wait_for_readiness(port, (200, "ok"))
        worker.kill()
        eventually(lambda: probe(port) == (503, "no worker was heard of"), timeout=30)


def test_a_server_that_drains_is_live_and_not_ready(redis_url: str) -> None:
    port = free_port()
    options = ("--drain", "600", "--health", f"127.0.0.1:{port}")
    with RunningSite(redis_url, workers=1, options=options) as site:
        wait_for_readiness(port, (200, "ok"))
        with socket.create_connection(("127.0.0.1", site.port)):
            site.interface.send_signal(signal.SIGTERM)
            eventually(lambda: probe(port) == (503, "stopping"))
            assert probe(port, "/live") == (200, "stopping")
            assert site.interface.running


def test_a_worker_that_finishes_its_messages_is_live_and_not_ready(redis_url: str) -> None:
    port = free_port()
    with RunningSite(redis_url, workers=0) as site, site.layer() as layer:
        worker = site.run("runworker", "--health", f"127.0.0.1:{port}")
        wait_for_readiness(port, (200, "ok"))
        inbox = layer.new_channel("test?")
        layer.send("websocket.receive", {"path": "/sleep", "text": "3", "reply_channel": inbox, "order": 1})
        eventually(lambda: layer.receive([inbox], block=False)[1])
        worker.send_signal(signal.SIGTERM)
        eventually(lambda: probe(port) == (503, "stopping"))
        assert probe(port, "/live") == (200, "stopping")
        assert worker.wait() == 0


def test_an_event_loop_that_does_not_run_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_server, "STUCK_AFTER", 0.5)
    with live() as server:
        assert server.server.health is Health.READY
        loop = server.session.clock.__self__  # type: ignore[attr-defined]  # a method of the loop
        loop.call_soon_threadsafe(time.sleep, 2)
        eventually(lambda: server.server.health is Health.STUCK)
        eventually(lambda: server.server.health is Health.READY)


def test_a_supervised_process_whose_event_loop_is_blocked_is_stuck(redis_url: str, tmp_path: Path) -> None:
    """The pipe that takes its access log is full, because whoever reads it stands still."""
    log, port = tmp_path / "access", free_port()
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    options = ("--drain", "1", "--health", f"127.0.0.1:{port}", "--access-log", str(log))
    with RunningSite(redis_url, workers=1, options=options) as site:
        wait_for_readiness(port, (200, "ok"))

        def visit() -> bool:
            with socket.create_connection(("127.0.0.1", site.port), timeout=scaled(1)) as client:
                client.sendall(b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % (b"x" * 8000))
                try:
                    return not client.recv(1)
                except TimeoutError:
                    return True  # unanswered

        eventually(visit, timeout=30)
        wait_for_readiness(port, (503, "stuck"))
        assert probe(port, "/live") == (503, "stuck")
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as stream:
            thread = threading.Thread(target=stream.read)
            thread.start()
            wait_for_readiness(port, (200, "ok"))
            assert site.interface.stop() == 0
            thread.join()


@pytest.mark.parametrize("command", ["runinterface", "runworker"])
@pytest.mark.parametrize("address", ["nowhere", "192.0.2.1:1"])
def test_an_address_that_cannot_be_used_is_named(command: str, address: str, tmp_path: Path) -> None:
    environment = {"LAYER_PATH": str(tmp_path / "layer"), "DJANGO_SETTINGS_MODULE": None}
    port = ["--port", str(free_port())] if command == "runinterface" else []
    program = run_command(["manage.py", command, "--health", address, *port], FOLDER, environment)
    assert program.status == 1
    assert address in program.output
    assert "Traceback" not in program.output


# systemd


@contextmanager
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(scaled(20))
        yield channel


def received(channel: socket.socket, state: str, *, other_than: str = "WATCHDOG=1") -> str:
    """Return the next notification that is none of the watchdog; it must begin with `state`."""
    while (found := channel.recv(4096).decode()) == other_than:
        pass
    assert found.startswith(state), found
    return found


def environment_of(tmp_path: Path) -> dict[str, str | None]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}


@pytest.mark.parametrize("options", [(), ("--drain", "1"), ("--processes", "2")])
def test_systemd_is_told_of_the_life_of_an_interface_server(
    redis_url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with systemd(tmp_path) as channel:
        site = RunningSite(redis_url, workers=0, options=options)
        site.environment |= environment_of(tmp_path)
        with site:
            received(channel, "READY=1")
            assert channel.recv(4096) == b"WATCHDOG=1"
            assert channel.recv(4096) == b"WATCHDOG=1"
            if options:
                site.interface.send_signal(signal.SIGHUP)
                assert "MONOTONIC_USEC=" in received(channel, "RELOADING=1")
                received(channel, "READY=1")
            site.interface.send_signal(signal.SIGTERM)
            received(channel, "STOPPING=1")
            assert site.interface.wait() == 0


@PROCESSES
def test_systemd_is_told_of_the_life_of_a_worker(redis_url: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    with systemd(tmp_path) as channel, RunningSite(redis_url, workers=0) as site:
        site.environment |= environment_of(tmp_path)
        worker = site.run("runworker", *options)
        received(channel, "READY=1")
        assert channel.recv(4096) == b"WATCHDOG=1"
        assert channel.recv(4096) == b"WATCHDOG=1"
        worker.send_signal(signal.SIGHUP)
        received(channel, "RELOADING=1")
        received(channel, "READY=1")
        worker.send_signal(signal.SIGTERM)
        received(channel, "STOPPING=1")
        assert worker.wait() == 0


def test_a_watchdog_is_fed_twice_in_its_time_and_only_by_the_process_it_watches(tmp_path: Path) -> None:
    with systemd(tmp_path) as channel:
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}
        now = 100.0
        heartbeat = WatchdogTimer(Notifier.of_this_process(environment), lambda: now)
        assert heartbeat.tick() == 5.0
        assert channel.recv(100) == b"WATCHDOG=1"
        now = 103.0
        assert heartbeat.tick() == 2.0
        now = 105.0
        assert heartbeat.tick() == 5.0
        assert channel.recv(100) == b"WATCHDOG=1"
        others = {**environment, "WATCHDOG_PID": str(os.getpid() + 1)}
        assert Notifier.of_this_process(others).interval is None


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0channels-classic-{os.getpid()}")
        channel.settimeout(scaled(10))
        Notifier(f"@channels-classic-{os.getpid()}").ready("serving")
        assert channel.recv(100) == b"READY=1\nSTATUS=serving"


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier.of_this_process({})
    notifier.ready()
    notifier.stopping()
    assert WatchdogTimer(notifier).tick() is None
