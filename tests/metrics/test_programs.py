"""Metrics of real programs: what moves when something happens, and where they can be read."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from channels_classic._metrics.catalogue import BOTH, INTERFACE, LAYER, METRICS, PREFIX, WORKER
from tests.metrics.scrape import Scrape, get
from tests.support.commands import run_command
from tests.support.processes import Process
from tests.support.redis_server import RedisServer, free_port
from tests.support.running_site import RunningSite
from tests.support.site import ROOT
from tests.support.waiting import eventually

PROGRAM = [sys.executable, "-c", "from channels_classic.management.cli import main; main()"]


class MeasuredSite(RunningSite):
    """A site whose programs serve metrics."""

    def __init__(
        self, redis_url: str | None, *, interface: tuple[str, ...] = (), worker: tuple[str, ...] = (), workers: int = 1
    ) -> None:
        self.interface_port, self.worker_port = free_port(), free_port()
        options = ("--metrics", f"127.0.0.1:{self.interface_port}", *interface)
        self._worker_options = ("--metrics", f"127.0.0.1:{self.worker_port}", *worker)
        super().__init__(redis_url, workers=workers, options=options)

    def start_workers(self, count: int = 1) -> None:
        self.workers = [self.run("runworker", *self._worker_options) for _ in range(count)]
        for worker in self.workers:
            worker.wait_for_line("Listening on channels|listens")
        if count:
            eventually(lambda: self.get(self.page)[0] == 200, 20)

    def served(self) -> Scrape:
        return Scrape(self.interface_port)

    def worked(self) -> Scrape:
        return Scrape(self.worker_port)


@pytest.fixture(scope="module", params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[MeasuredSite]:
    url = request.getfixturevalue("module_redis").url if request.param == "redis" else None
    with MeasuredSite(url) as site:
        yield site


def test_what_clients_do_moves_the_metrics_of_the_interface_server(site: MeasuredSite) -> None:
    eventually(lambda: site.served().value("sockets") == 0)
    before = site.served()

    async def clients() -> None:
        async with site.sockets(3, "/room") as sockets:
            for socket in sockets:
                await socket.send("x")
                await socket.recv()
            await asyncio.to_thread(look)
            await sockets[0].close(4001)
        with pytest.raises(InvalidStatus):
            async with site.socket("/connect-broken"):
                pass

    def look() -> None:
        now = site.served()
        assert now.value("sockets") == 3
        assert (now.value("groups"), now.value("group_members")) == (1, 3)
        assert now.value("layer_connections") == 2

    asyncio.run(clients())
    assert site.get("/broken")[0] == 500
    eventually(lambda: site.served().value("sockets") == 0)
    now = site.served()

    def grown(name: str, **labels: str) -> float:
        return now.value(name, **labels) - before.value(name, **labels)

    assert grown("sockets_opened_total") == 3
    assert grown("sockets_closed_total", code="4001") == 1
    assert grown("sockets_closed_total", code="1000") == 2
    assert grown("handshake_duration_seconds_count", outcome="accepted") == 3
    assert grown("handshake_duration_seconds_count", outcome="403") == 1
    assert grown("request_duration_seconds_count", status="500") == 1
    assert grown("request_duration_seconds_count", status="200") == 0
    assert now.value("requests_in_progress") == 0
    assert now.value("layer_up") == 1
    assert grown("channel_messages_total", channel="websocket.receive") == 3
    assert now.value("channel_workers", channel="websocket.receive") == 1
    assert {labels["channel"] for labels in now.labels("channel_waiting_messages")} >= {"inboxes", "http.request"}


def test_what_workers_do_moves_theirs(site: MeasuredSite) -> None:
    async def clients() -> None:
        async with site.socket("/sleep") as socket:
            await socket.send("2")
            assert await socket.recv() == "started"
            await asyncio.to_thread(look)
            assert await socket.recv() == "done"
        async with site.socket("/receive-broken") as socket:
            await socket.send("x")
            await asyncio.to_thread(eventually, has_failed)

    def look() -> None:
        assert site.worked().value("worker_busy_threads") == 1

    def has_failed() -> bool:
        return outcome("raised", "tests.projects.site.consumers.receive_broken") == 1

    def outcome(name: str, consumer: str) -> float:
        return site.worked().value("consumed_messages_total", outcome=name, consumer=consumer)

    asyncio.run(clients())
    sleep = "tests.projects.site.consumers.sleep"
    eventually(lambda: outcome("consumed", sleep) == 1)
    now = site.worked()
    assert (now.value("worker_processes"), now.value("worker_threads"), now.value("worker_busy_threads")) == (1, 1, 0)
    assert now.value("consumer_duration_seconds_sum", consumer=sleep) >= 2
    assert now.value("consumer_duration_seconds_bucket", consumer=sleep, le="1.0") == 0
    assert now.value("layer_connections") >= 1


def test_the_processes_of_an_interface_server_are_read_through_one_port(redis_url: str) -> None:
    def read() -> float:
        return running.served().value("interface_processes")

    async def sockets() -> None:
        async with running.sockets(20):
            await asyncio.to_thread(eventually, lambda: running.served().value("sockets") == 20)
            (child, *_) = children(running.interface.pid)
            os.kill(child, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: read() == 2, timeout=20)
            now = await asyncio.to_thread(running.served)
            assert now.value("process_restarts_total") == now.value("process_restarts_total", reason="died") == 1
            assert now.value("sockets_opened_total") == 20, "the counters of the process that was killed stay"

    with MeasuredSite(redis_url, interface=("--processes", "2")) as running:
        eventually(lambda: read() == 2)
        asyncio.run(sockets())
        assert running.interface.stop() == 0


def test_the_processes_of_a_worker_are_read_through_one_port(redis_url: str) -> None:
    async def echoes() -> None:
        async with site.socket("/") as socket:
            for number in range(20):
                await socket.send(str(number))
                await socket.recv()

    def count(outcome: str = "consumed") -> float:
        return site.worked().value("consumed_messages_total", outcome=outcome, consumer=echo)

    echo = "tests.projects.site.consumers.echo"
    with MeasuredSite(redis_url, worker=("--processes", "2", "--threads", "2")) as site:
        eventually(lambda: site.worked().value("worker_processes") == 2)
        asyncio.run(echoes())
        eventually(lambda: count() == 20)
        assert site.worked().value("worker_threads") == 4
        site.workers[0].send_signal(signal.SIGHUP)
        site.workers[0].wait_for_line("is replaced", occurrences=2)
        eventually(lambda: site.worked().value("worker_processes") == 2)
        assert site.worked().value("process_restarts_total", reason="reloaded") == 2
        assert count() == 20
        assert site.workers[0].stop() == 0


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_every_metric_is_served(redis_url: str) -> None:
    """Those without a value so far are left out, as Prometheus wants it; they are those that count what went wrong."""
    with MeasuredSite(redis_url, interface=("--drain", "1"), worker=("--consumer-timeout", "60")) as site:
        served, worked = site.served().text, site.worked().text
    late = {
        "refused_requests_total",
        "sockets_closed_total",
        "handshake_duration_seconds",
        "clients_cut_off_total",
        "lost_messages_total",
    }
    for text, metrics in ((served, (*INTERFACE, *BOTH, *LAYER)), (worked, (*WORKER, *BOTH, *LAYER))):
        described = [metric.name for metric in metrics if f"# HELP {metric.full_name} {metric.help}\n" in text]
        assert {metric.name for metric in metrics} - set(described) <= late
    assert late <= set(METRICS)


# Faults


def test_a_layer_that_is_down_is_a_metric_and_the_others_are_still_served(own_redis: RedisServer) -> None:
    with MeasuredSite(own_redis.url) as site:
        own_redis.stop()
        eventually(lambda: site.served().value("layer_outages_total") == 1, timeout=20)
        eventually(lambda: site.worked().value("layer_outages_total") == 1, timeout=20)
        for now in (site.served(), site.worked()):
            assert now.value("layer_up") == 0
            assert now.labels("channel_waiting_messages") == []
        own_redis.start()
        eventually(lambda: site.served().value("layer_up") == 1)


def test_a_process_that_stands_still_does_not_hold_up_the_scrape(redis_url: str) -> None:
    with MeasuredSite(redis_url, worker=("--processes", "2")) as site:
        eventually(lambda: site.worked().value("worker_processes") == 2)
        (child, *_) = children(site.workers[0].pid)
        os.kill(child, signal.SIGSTOP)
        try:
            eventually(lambda: f"{child} (python) T" in Path(f"/proc/{child}/stat").read_text())
            assert site.worked().value("worker_processes") == 1
        finally:
            os.kill(child, signal.SIGCONT)
        eventually(lambda: site.worked().value("worker_processes") == 2)


@pytest.mark.slow
@pytest.mark.timeout(120)  # a process has half a minute to run again
def test_a_process_that_stands_still_is_seen_and_replaced(redis_url: str) -> None:
    options = ("--processes", "2")
    with MeasuredSite(redis_url, interface=options, worker=options) as site:
        programs = {site.interface: site.served, site.workers[0]: site.worked}
        stopped = {}

        def stuck_processes() -> float:
            return programs[program]().value("stuck_processes")

        def killed() -> float:
            return programs[program]().value("process_restarts_total", reason="stuck")

        for program in programs:  # the worker is idle when its turn comes
            program.wait_for_line("listens", occurrences=2)
            stopped[program] = children(program.pid)[0]
            os.kill(stopped[program], signal.SIGSTOP)
            eventually(lambda: stuck_processes() == 1, timeout=30)
            program.wait_for_line(f"process {stopped[program]} hangs: no heartbeat for 1")
        for program in programs:
            program.wait_for_line(f"process {stopped[program]} has not run for 3.*killing it", timeout=60)
            eventually(lambda: killed() == 1)
            program.wait_for_line("listens", occurrences=3)
            assert stuck_processes() == 0
        assert site.get("/")[0] == 200


# The port


def test_the_public_port_does_not_have_them(site: MeasuredSite) -> None:
    status, text = site.get("/metrics")
    assert status == 404
    assert PREFIX not in text
    assert get(site.interface_port, "/")[0] == 404


@pytest.mark.parametrize("command", ["interface", "worker"])
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("9100", "--metrics is '9100': expected a host and a port, such as 127.0.0.1:8001"),
        (":9100", "expected a host and a port"),
        ("127.0.0.1:99999", "expected a host and a port"),
        ("127.0.0.1:{port}", "Cannot listen on 127.0.0.1:.* for --metrics"),
    ],
)
def test_an_address_that_cannot_be_had_is_named(
    redis_server: RedisServer, command: str, address: str, sentence: str
) -> None:
    options = ["--settings", "tests.projects.site.settings", "--metrics", address.format(port=redis_server.port)]
    environment = {"DJANGO_SETTINGS_MODULE": None, "REDIS_URL": redis_server.url}
    program = run_command(["channels-classic", command, *options], ROOT, environment)
    assert re.search(f"Error: .*{sentence}", program.output), program.output
    assert program.status == 1
    assert "Traceback" not in program.output


@pytest.mark.parametrize("command", ["interface", "worker"])
def test_without_the_package_the_extra_is_named(redis_url: str, command: str) -> None:
    missing = "import sys; sys.modules['prometheus_client'] = None; " + PROGRAM[-1]
    options = ["--settings", "tests.projects.site.settings", "--metrics", f"127.0.0.1:{free_port()}"]
    environment = {"DJANGO_SETTINGS_MODULE": None, "REDIS_URL": redis_url}
    with Process([sys.executable, "-c", missing, command, *options], env=environment) as program:
        program.wait_for_line(r"needs prometheus-client: pip install 'channels-classic\[metrics\]'")
        assert program.wait() == 1


def test_it_is_not_imported_where_it_is_not_used() -> None:
    code = """
import sys
import channels_classic.interface_server.server.server, channels_classic._metrics.program
import channels_classic.interface_server.metrics
assert "prometheus_client" not in sys.modules
"""
    with Process([sys.executable, "-c", code]) as program:
        assert program.wait() == 0, program.output
