"""Five faults of a site, prepared with real processes: `manage.py channels` alone says which one it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import StringIO

import pytest
from websockets.sync.client import connect

from channels_classic.management.status import StatusConfig, run
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, scaled

Fault = Callable[[RunningSite, RedisServer], AbstractContextManager[None]]


@contextmanager
def no_worker_for_a_channel(site: RunningSite, redis: RedisServer) -> Iterator[None]:
    with site.layer() as layer:
        layer.send("mail.outgoing", {})
    yield


@contextmanager
def a_slow_consumer(site: RunningSite, redis: RedisServer) -> Iterator[None]:
    with connect(site.url("/sleep", "ws")) as slow, connect(site.url("/", "ws")) as other:
        slow.send("300")
        assert slow.recv(scaled(20)) == "started"
        other.send("x")
        yield
        site.workers[0].kill()


@contextmanager
def a_full_inbox(site: RunningSite, redis: RedisServer) -> Iterator[None]:
    with connect(site.url("/room", "ws"), ping_interval=None, close_timeout=0.1), site.layer() as layer:
        eventually(lambda: layer.group_count("room") == 1)
        site.interface.send_signal(signal.SIGSTOP)
        for _ in range(1500):
            layer.send_group("room", {"text": "x"})
        try:
            yield
        finally:
            site.interface.send_signal(signal.SIGCONT)


@contextmanager
def redis_out_of_memory(site: RunningSite, redis: RedisServer) -> Iterator[None]:
    redis.command("CONFIG", "SET", "maxmemory", "1")
    stopped = threading.Event()

    def visit() -> None:
        while not stopped.wait(0.2):
            with suppress(OSError):
                site.get("/")

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield
    finally:
        stopped.set()
        visitor.join()
        redis.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def a_server_cut_off(site: RunningSite, redis: RedisServer) -> Iterator[None]:
    site.workers[0].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        site.workers[0].send_signal(signal.SIGCONT)


FAULTS: dict[Fault, str] = {
    no_worker_for_a_channel: "No worker listens on mail.outgoing, where 1 message",
    a_slow_consumer: "runs tests.projects.site.consumers.sleep × 1 in 1 of 1 thread",
    a_full_inbox: "wait in the inbox of the interface server",
    redis_out_of_memory: "lost a moment ago (refused): the layer refused to carry it",
    a_server_cut_off: "has not reported for",
}


@pytest.mark.timeout(120)  # silence takes a while to be noticed
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_status_tells_which_fault_a_site_has(own_redis: RedisServer, fault: Fault) -> None:
    def shown() -> str:
        """Return what the program would write, without the time that it takes to start."""
        out = StringIO()
        run(layer, StatusConfig(interval=2), out)
        return out.getvalue()

    with RunningSite(own_redis.url, workers=1) as site, site.layer() as layer:
        assert "! " not in shown()
        with fault(site, own_redis):
            eventually(lambda: FAULTS[fault] in shown(), timeout=40)
            assert FAULTS[fault] in site.manage("channels", "--interval", "2")
