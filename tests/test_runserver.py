"""`runserver`: both programs in one, started again when a file changes."""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from channels_classic.management.commands.runserver import Command, access_logger
from tests.support.own_project import ROUTING, SETTINGS, Project, own_project
from tests.support.processes import Process
from tests.support.waiting import eventually, scaled

MEMORY = 'CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.inmemory.ChannelLayer"'


NewProject = Callable[..., Project]


@pytest.fixture
def new_project() -> Iterator[NewProject]:
    with ExitStack() as stack:
        yield lambda settings="": stack.enter_context(own_project(settings))


def running(project: Project, *options: str) -> Process:
    """`runserver` without the reloader; `wait_for_port` says that it is there."""
    return project.run("runserver", str(project.port), "--noreload", *options)


def change_routing(server: Process, project: Project, routing: str) -> None:
    """Change the file until it is noticed: the reloader first has to see what was there before."""
    before = server.output.count("changed, reloading")
    target = project.write("mysite/routing.py", routing)
    changes = itertools.count(int(time.time()) + 1)

    def noticed() -> bool:
        os.utime(target, times=(next(changes), next(changes)))
        return server.output.count("changed, reloading") > before

    eventually(noticed, timeout=20)


ENDING = """
import atexit, logging, os, threading, time
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
from channels_classic.asgi import channel_layers
from channels_classic.management.commands.runserver import WorkerThread

ready = threading.Event()
thread = WorkerThread(channel_layers["default"], logging.getLogger("test"), threads=3, ready=ready)
thread.start()

@atexit.register
def go_on():
    ready.set()
    thread.join(5)
    print("ended" if not thread.is_alive() else "works")
"""


def test_a_process_that_ends_while_its_workers_start_shows_no_error(new_project: NewProject) -> None:
    """A file that changes twice ends it so early. Python 3.12 refuses new threads then, 3.15 does not."""
    program = new_project(MEMORY).start(sys.executable, "-c", ENDING)
    assert program.wait() == 0
    assert program.output.split()[-1] in ("ended", "works")
    assert "Traceback" not in program.output


@pytest.fixture(params=["memory", "local", "redis"])
def layer(request: pytest.FixtureRequest) -> str:
    """Settings that choose a layer."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return (
            'CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.redis.RedisChannelLayer"\n'
            f'CHANNEL_LAYERS["default"]["CONFIG"] = {{"hosts": ["{url}"]}}'
        )
    return MEMORY if request.param == "memory" else ""


def test_one_process_serves_pages_static_files_and_sockets_and_ends_quietly(
    new_project: NewProject, layer: str
) -> None:
    project = new_project(layer)
    with running(project) as server:
        server.wait_for_port(project.port)
        assert project.get("/?a=1") == (200, "a page")
        assert project.get("/static/site.css") == (200, "body { color: green }")
        assert project.get("/nowhere")[0] == 404
        with project.socket("/room") as socket:
            socket.send("frame")
            assert socket.recv(timeout=scaled(10)) == "first frame"
        server.wait_for_line(r"WebSocket DISCONNECT /room \[127\.0\.0\.1:\d+\]")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    output = server.output
    for line in (
        r"System check identified no issues",
        r"Django version .*, using settings 'mysite\.settings'",
        rf"Starting Channels development server at http://127\.0\.0\.1:{project.port}/",
        r"Quit the server with CONTROL-C",
        r"Channel layer default \(channels_classic\.layers\.",
        r"\[\d\d/\w+/\d+ \d\d:\d\d:\d\d\] HTTP GET /\?a=1 200 \[\d\.\d\d, 127\.0\.0\.1:\d+\]",
        r"HTTP GET /static/site\.css 200 ",
        r"HTTP GET /nowhere 404 ",
        r"WebSocket HANDSHAKING /room ",
        r"WebSocket CONNECT /room ",
    ):
        server.wait_for_line(line)
    *before, stopping, stopped = output.splitlines()
    assert before[-1].endswith("]"), "something was said after the last client left"
    assert "Stopping: 0 connection(s)" in stopping
    assert stopped.endswith("Stopped.")
    assert "Traceback" not in output


LEAVING = ROUTING.replace(
    "channel_routing = {",
    """
def disconnect(message):
    import time
    print("begun", flush=True)
    time.sleep(0.3)
    Group("all").discard(message.reply_channel)
    print("done", flush=True)

channel_routing = {"websocket.disconnect": disconnect, """,
)


def test_a_client_that_left_right_before_the_end_has_left_its_groups(new_project: NewProject) -> None:
    project = new_project()
    project.write("mysite/routing.py", LEAVING)
    with running(project) as server:
        server.wait_for_port(project.port)
        with project.socket(), project.socket():
            pass
        server.wait_for_line("begun")
        assert server.stop(signal.SIGINT) == 0
    assert server.output.count("done") == 2
    assert "Traceback" not in server.output


def test_other_processes_reach_the_embedded_layer_that_it_hosts(new_project: NewProject) -> None:
    project = new_project()
    with running(project) as server:
        server.wait_for_port(project.port)
        with project.socket() as socket:
            with project.run(
                "shell", "-c", "from channels_classic import *; Group('all').send({'text': 'news'})"
            ) as shell:
                assert shell.wait() == 0, shell.output
            assert socket.recv(timeout=scaled(10)) == "news"


def test_a_changed_routing_file_is_loaded_and_sockets_are_told(new_project: NewProject) -> None:
    project = new_project()
    with project.run("runserver", str(project.port)) as server:
        server.wait_for_line("Listening on channels")
        with project.socket() as socket:
            socket.send("frame")
            assert socket.recv(timeout=scaled(10)) == "first frame"
            change_routing(server, project, ROUTING.replace("first", "second"))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=scaled(20))
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012  # service restart
        server.wait_for_line("Listening on channels", occurrences=2)
        with project.socket() as socket:
            socket.send("frame")
            assert socket.recv(timeout=scaled(10)) == "second frame"
        os.killpg(server.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        assert server.wait() == 0
    assert "Traceback" not in server.output


def test_a_mistake_in_a_routing_file_is_told_and_its_repair_is_loaded(new_project: NewProject) -> None:
    project = new_project()
    with project.run("runserver", str(project.port)) as server:
        server.wait_for_line("Listening on channels")
        change_routing(server, project, "channel_routing = {'a': 'mysite.nowhere.consumer'}")
        server.wait_for_line(r"channels_classic\.E005")
        change_routing(server, project, ROUTING)
        server.wait_for_line("Listening on channels", occurrences=2)
        eventually(lambda: project.get("/") == (200, "a page"))
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("settings", "options"), [("CHANNEL_LAYERS = {}", []), ("del CHANNEL_LAYERS", []), ("", ["--noasgi"])]
)
def test_djangos_own_server_runs_where_channels_are_not_meant(
    new_project: NewProject, settings: str, options: list[str]
) -> None:
    project = new_project(settings)
    with running(project, *options) as server:
        server.wait_for_port(project.port)
        assert project.get("/") == (200, "a page")
        assert project.get("/static/site.css") == (200, "body { color: green }")
        with pytest.raises(InvalidStatus):
            project.socket("/room")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    assert "Channel layer" not in server.output
    assert '"GET / HTTP/1.1" 200' in server.output


def test_a_port_in_use_is_said_as_django_says_it(new_project: NewProject) -> None:
    project = new_project()
    with running(project) as first:
        first.wait_for_port(project.port)
        with running(project) as second:
            assert second.wait() == 1
        assert second.output.splitlines()[-1] == "Error: That port is already in use."
        with project.run("runserver", str(project.port)) as third:  # which the reloader starts in a thread
            assert third.wait() == 1
        assert third.output.splitlines()[-1] == "Error: That port is already in use."


def test_without_workers_of_its_own_it_needs_a_runworker(new_project: NewProject) -> None:
    project = new_project()
    with running(project, "--noworker", "--http-timeout", "0.5") as server:
        server.wait_for_port(project.port)
        assert project.get("/")[0] == 503
        assert project.get("/static/site.css")[0] == 200
        with project.run("runworker"):
            eventually(lambda: project.get("/") == (200, "a page"), timeout=20)


def test_static_files_are_left_to_others_when_told_so_or_where_debug_is_off(new_project: NewProject) -> None:
    project = new_project("DEBUG = False")
    with running(project, "--nothreading") as server:
        server.wait_for_port(project.port)
        assert project.get("/static/site.css")[0] == 404
    with running(project, "--insecure") as server:
        server.wait_for_port(project.port)
        assert project.get("/static/site.css")[0] == 200
        assert project.get("/static/%2e%2e/settings.py")[0] == 400, "a path that leads out of the folder"
    project.write("mysite/settings.py", f"SECRET_KEY = {str(project.folder)!r}\n{SETTINGS}")
    with running(project, "--nostatic") as server:
        server.wait_for_port(project.port)
        assert project.get("/static/site.css")[0] == 404


def test_the_options_of_channels_1_are_known_in_both_spellings() -> None:
    parser = Command().create_parser("manage.py", "runserver")
    for separator in "-_":
        options = parser.parse_args(
            [f"--http{separator}timeout=7", f"--websocket{separator}handshake{separator}timeout=8"]
        )
        assert (options.http_timeout, options.websocket_handshake_timeout) == (7, 8)
    options = parser.parse_args([])
    assert (options.http_timeout, options.websocket_handshake_timeout) == (60, 5)
    assert options.run_worker and options.use_asgi


# The lines about clients


def test_an_option_that_makes_no_sense_is_named_as_it_was_given(new_project: NewProject) -> None:
    with running(new_project(MEMORY), "--websocket-handshake-timeout=-7") as server:
        assert server.wait() == 1
    assert "Error: --websocket-handshake-timeout is -7: expected a number from -1" in server.output


@pytest.fixture
def records() -> Any:
    """The details that the access log gets."""
    found: list[logging.LogRecord] = []
    handler: Any = logging.Handler()
    handler.emit = found.append
    access_logger.addHandler(handler)
    yield found
    access_logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (100, logging.INFO),
        (200, logging.INFO),
        (304, logging.INFO),
        (404, logging.WARNING),
        (500, logging.ERROR),
    ],
)
def test_a_response_is_a_line_with_its_status_for_django_to_colour(
    records: list[logging.LogRecord], status: int, level: int
) -> None:
    details = {"method": "GET", "path": "/a%20b", "status": status, "time_taken": 0.123, "client": "1.2.3.4:5"}
    Command().log_action("http", "complete", details)
    (record,) = records
    assert record.getMessage() == f"HTTP GET /a%20b {status} [0.12, 1.2.3.4:5]"
    assert (record.levelno, record.status_code) == (level, status)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ("connecting", "HANDSHAKING"),
        ("connected", "CONNECT"),
        ("rejected", "REJECT"),
        ("disconnected", "DISCONNECT"),
    ],
)
def test_what_becomes_of_a_socket_is_a_line(records: list[logging.LogRecord], action: str, word: str) -> None:
    Command().log_action("websocket", action, {"path": "/room", "client": "1.2.3.4:5"})
    assert [record.getMessage() for record in records] == [f"WebSocket {word} /room [1.2.3.4:5]"]


def test_a_line_goes_to_standard_error_as_it_is_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the tests of Channels 1.1.8 read it."""
    details = {"method": "GET", "path": "/path", "status": 404, "time_taken": 0.123, "client": "1.2.3.4:5"}
    for _ in range(2):
        monkeypatch.setattr(f"{Command.__module__}.sys.stderr", stderr := StringIO())
        Command().log_action("http", "complete", details)
        Command().log_action("websocket", "connected", {"path": "/room", "client": "1.2.3.4:5"})
        assert re.fullmatch(
            r"\[.*\] HTTP GET /path 404 \[0\.12, 1\.2\.3\.4:5\]\n\[.*\] WebSocket CONNECT /room \[1\.2\.3\.4:5\]\n",
            stderr.getvalue(),
        )


def test_a_handler_that_the_project_configured_keeps_its_stream(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"django.server": {"class": "logging.StreamHandler"}},
    }
    # After the setting, because Django 6.1 configures logging anew with it.
    handler = logging.StreamHandler(stream := StringIO())
    handler.name = access_logger.name
    monkeypatch.setattr(access_logger, "handlers", [handler])
    monkeypatch.setattr(sys, "stderr", stderr := StringIO())
    Command().log_action("websocket", "connected", {"path": "/room", "client": "1.2.3.4:5"})
    assert stream.getvalue() == "WebSocket CONNECT /room [1.2.3.4:5]\n"
    assert stderr.getvalue() == ""


def test_an_unknown_action_is_no_line(records: list[logging.LogRecord]) -> None:
    Command().log_action("websocket", "dreaming", {"path": "/room", "client": None})
    Command().log_action("telepathy", "complete", {})
    assert records == []
