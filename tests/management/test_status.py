"""`manage.py channels` and `channels-classic status`, with real programs on every kind of layer."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.programs import ProgramAnnouncer, WorkerFacts
from channels_classic.layers.status import LayerStatus, read
from channels_classic.management.checks import VALUES, Condition
from channels_classic.management.status import StatusConfig, run
from channels_classic.management.status_tables import text
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, scaled

PROGRAM = [sys.executable, "-c", "from channels_classic.management.cli import main; main()", "status"]
EMPTY = LayerStatus([], [], [], {}, {})


@pytest.fixture(params=["local", "redis"])
def site(request: pytest.FixtureRequest) -> Iterator[RunningSite]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with RunningSite(url, workers=1) as site:
        yield site


def status(site: RunningSite) -> dict[str, Any]:
    """Return what the program would write, without the time that it takes to start."""
    out = StringIO()
    with site.layer() as layer:
        run(layer, StatusConfig(json=True, interval=0.1), out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.fixture(scope="module")
def watched_site(module_redis: RedisServer) -> Iterator[RunningSite]:
    """A site for tests that only look at it."""
    with RunningSite(module_redis.url, workers=1) as site:
        yield site


def test_what_runs_is_shown(site: RunningSite) -> None:
    async def with_sockets() -> None:
        async with site.sockets(3):
            await asyncio.to_thread(look)

    def look() -> None:
        eventually(lambda: status(site)["groups"] == {"room": 3}, timeout=20)
        found = json.loads(site.manage("channels", "--json", "--interval", "0.1"))
        (server,), (worker,) = found["interface_servers"], found["workers"]
        assert (server["sockets"], server["groups"], server["pid"]) == (3, 1, site.interface.pid)
        assert (worker["processes"], worker["threads"], worker["pid"]) == (1, 1, site.workers[0].pid)
        assert "websocket.receive" in worker["channels"]
        channels = {channel["name"]: channel for channel in found["channels"]}
        assert channels["websocket.connect"]["messages"] == 3
        assert channels["websocket.connect"]["workers"] == 1
        assert found["problems"] == []
        text = site.manage("channels")
        assert re.search(rf"Interface servers\n.*sockets.*\n.* {site.interface.pid} .* 3 ", text)
        assert re.search(r"room +3", text)
        assert "No problem was found." in text

    asyncio.run(with_sockets())


def test_a_program_that_stops_is_gone_at_once(site: RunningSite) -> None:
    eventually(lambda: status(site)["workers"])
    site.stop_workers()
    assert status(site)["workers"] == []
    assert "No worker runs on this layer: start `runworker`." in site.manage("channels", "--interval", "0.1")


def test_the_processes_and_threads_of_one_command_are_one_worker(redis_url: str) -> None:
    with RunningSite(redis_url, workers=0) as site:
        worker = site.run("runworker", "--processes", "2", "--threads", "3")
        worker.wait_for_line("Worker process .* listens", occurrences=2)
        eventually(lambda: [one["processes"] for one in status(site)["workers"]] == [2])
        (found,) = status(site)["workers"]
        assert (found["pid"], found["threads"]) == (worker.pid, 6)


def test_a_consumer_that_runs_is_named(redis_url: str) -> None:
    async def keep_busy() -> None:
        async with site.socket("/sleep") as socket:
            await socket.send("40")
            assert await socket.recv() == "started"
            await asyncio.to_thread(eventually, is_named, timeout=30)
            site.workers[0].kill()

    def is_named() -> bool:
        (worker,) = status(site)["workers"]
        return worker["busy"] == 1 and "tests.projects.site.consumers.sleep" in worker["running"]

    with RunningSite(redis_url, workers=1) as site:
        asyncio.run(keep_busy())


# Checks


def test_a_check_that_holds_ends_with_0_and_others_with_1(watched_site: RunningSite) -> None:
    watched_site.manage("channels", "--check", "workers>=1", "--check", "oldest<5", "--check", "interface_servers == 1")
    failing = watched_site.run("channels", "--check", "workers>=2", "--check", "oldest<5", "--check", "sockets>0")
    assert failing.wait() == 1
    assert "workers is 1, expected >= 2. sockets is 0, expected > 0." in failing.output


def test_a_layer_that_is_down_ends_with_2(own_redis: RedisServer) -> None:
    own_redis.stop()
    site = RunningSite(own_redis.url, workers=0)
    for arguments in (["--check", "workers>=1"], ["--json"], []):
        command = site.run("channels", *arguments)
        assert command.wait() == 2
        assert "check that the server runs" in command.output.lower()
        assert "Traceback" not in command.output
    site.stop()


def test_without_a_host_of_the_local_layer_it_ends_with_2() -> None:
    site = RunningSite(workers=0)
    command = site.run("channels")
    assert command.wait() == 2
    assert "no interface server of this project and user hosts it" in command.output
    site.stop()


def test_a_layer_that_cannot_be_used_as_configured_ends_with_2(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    site = RunningSite(workers=0)
    site.environment["LAYER_PATH"] = str(tmp_path / "layer")
    command = site.run("channels", "--check", "workers>=1")
    assert command.wait() == 2
    assert command.output.startswith("CommandError: The folder of the local channel layer"), command.output
    site.stop()


@pytest.mark.parametrize("text", ["workers", "workers>=", "workers>=two", "works>=2", "workers=>2", "", "1>=workers"])
def test_a_condition_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a condition: expected one of interface_servers"):
        Condition.parse(text)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("comparison", "holds"), [(">=", 5), ("<=", 5), ("==", 1), ("!=", 5), (">", 5), ("<", 5)])
def test_every_value_can_be_compared(name: str, comparison: str, holds: int) -> None:
    value = VALUES[name](EMPTY)
    failure = Condition.parse(f"{name}{comparison}{value:g}").failure(EMPTY)
    assert (failure is None) == (comparison in (">=", "<=", "=="))


# Options


def test_an_outage_does_not_end_a_watch(own_redis: RedisServer) -> None:
    with RunningSite(own_redis.url, workers=0) as site:
        lines = site.run("channels", "--watch", "--json", "--interval", "0.2")
        lines.wait_for_line('^{"interface_servers"')
        own_redis.stop()
        lines.wait_for_line('^{"error": ".*Redis')
        own_redis.start()
        lines.wait_for_line('^{"interface_servers".*"pid"', occurrences=2)


def test_a_reader_that_has_enough_is_no_error(watched_site: RunningSite) -> None:
    pipe = f"{sys.executable} manage.py channels --watch --json --interval 0.1 | head -n 1"
    with Process(["sh", "-c", pipe], cwd=watched_site.folder, env=watched_site.environment) as command:
        assert command.wait() == 0
    assert len(command.output.splitlines()) == 1, command.output


def test_the_memory_layer_cannot_be_seen_from_outside() -> None:
    with pytest.raises(CommandError, match="lives in one process"):
        call_command("channels", stdout=StringIO())


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf])
def test_an_interval_that_means_nothing_is_refused(interval: float) -> None:
    with pytest.raises(CommandError, match=f"--interval is {interval:g}: expected a number above 0"):
        call_command("channels", interval=interval)


def test_names_on_the_layer_control_no_terminal() -> None:
    layer = ChannelLayer()
    layer.run([ProgramAnnouncer().announce(WorkerFacts, threads=1, running={"a\x1b]0;owned\x07\nb": 1})])
    shown = text(read(layer))
    assert r"a\x1b]0;owned\x07\nb × 1" in shown
    assert "\x1b" not in shown


def test_a_check_cannot_be_watched() -> None:
    with pytest.raises(CommandError, match="give one of them"):
        call_command("channels", check=["workers>1"], watch=True)


def test_a_layer_needs_no_project(watched_site: RunningSite) -> None:
    url = watched_site.redis_url
    assert url is not None
    environment = {"DJANGO_SETTINGS_MODULE": None}
    options = ["--layer", url, "--json", "--interval", "0.1"]
    with Process([*PROGRAM, *options], env=environment) as command:
        assert command.wait() == 0, command.output
    assert json.loads(command.output)["interface_servers"][0]["pid"] == watched_site.interface.pid
    with Process([*PROGRAM, "--layer", url, "--check", "workers>=2"], env=environment) as command:
        assert command.wait() == 1
    assert "Error: workers is 1, expected >= 2." in command.output


def test_watching_through_a_pipe_writes_plain_text_again_and_again(watched_site: RunningSite) -> None:
    watch = watched_site.run("channels", "--watch", "--interval", "0.2")
    watch.wait_for_line("Interface servers", occurrences=3)
    assert "\x1b" not in watch.output
    lines = watched_site.run("channels", "--watch", "--json", "--interval", "0.2")
    lines.wait_for_line('^{"interface_servers"', occurrences=3)
    assert json.loads(lines.output.splitlines()[0])["workers"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_gets_a_whole_screen_and_is_left_as_it_was(
    watched_site: RunningSite, number: signal.Signals
) -> None:
    terminal, side = os.openpty()
    environment = {
        name: value for name, value in {**os.environ, **watched_site.environment}.items() if value is not None
    }
    command = [sys.executable, "manage.py", "channels", "--watch", "--interval", "0.2"]
    watch = subprocess.Popen(
        command, cwd=watched_site.folder, env={**environment, "TERM": "xterm"}, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    try:
        shown = b""
        while b"Interface servers" not in shown or b"Channels" not in shown:
            shown += os.read(terminal, 65536)
        assert b"\x1b[?1049h" in shown, "the alternate screen"
        watch.send_signal(number)
        with suppress(OSError):  # when the program has ended
            while part := os.read(terminal, 65536):
                shown += part
        assert watch.wait(scaled(20)) == 0
        assert shown.endswith(b"\x1b[?25h\x1b[?1049l"), "the cursor and the first screen"
    finally:
        watch.kill()
        watch.wait()
        os.close(terminal)
