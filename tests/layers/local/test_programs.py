"""The embedded layer as an operator sees it: real programs of one project that find each other, and outlive a host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.own_project import HOST, Project, own_project
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually, scaled

SEND = 'from channels_classic import Group; Group("all").send({"text": "%s"})'


@pytest.fixture
def project() -> Iterator[Project]:
    with own_project() as project:
        yield project


def group_send(project: Project, text: str, **environment: str) -> str:
    """Send to the group `all` from `manage.py shell` in an environment like that of a cron job; what it writes."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", SEND % text],
        cwd=project.folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project.environment["PYTHONPATH"]), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def start_interface(project: Project) -> tuple[Process, int]:
    port = free_port()
    program = project.run("runinterface", "--port", str(port))
    program.wait_for_port(port)
    return program, port


def echo(socket: ClientConnection, text: str) -> str | bytes | None:
    """The next frame after sending `text`; None when none comes for a while."""
    socket.send(text)
    try:
        return socket.recv(timeout=scaled(2))
    except TimeoutError:
        return None


def test_a_group_send_finds_the_host_from_whatever_environment(project: Project) -> None:
    with ExitStack() as stack:
        program, port = start_interface(project)
        stack.enter_context(program)
        worker = stack.enter_context(project.run("runworker"))
        worker.wait_for_line("Listening on channels")
        socket = stack.enter_context(connect(f"ws://{HOST}:{port}/"))
        assert socket.ping().wait(scaled(5))
        for text, environment in {"bare": {}, "moved": {"TMPDIR": "/var/tmp", "XDG_RUNTIME_DIR": "/nowhere"}}.items():
            assert group_send(project, text, **environment) == ""
            assert socket.recv(timeout=scaled(5)) == text


def test_a_group_send_without_a_host_is_reported_once(project: Project) -> None:
    assert "no interface server of this project and user runs" in group_send(project, "lost")


def test_sockets_of_another_interface_server_go_on_when_the_host_is_killed(project: Project) -> None:
    with ExitStack() as stack:
        host, _ = start_interface(project)
        stack.enter_context(host)
        survivor, port = start_interface(project)
        stack.enter_context(survivor)
        survivor.wait_for_line("Another interface server hosts")
        worker = stack.enter_context(project.run("runworker"))
        worker.wait_for_line("Listening on channels")
        socket = stack.enter_context(connect(f"ws://{HOST}:{port}/"))
        eventually(lambda: echo(socket, "one") == "first one", timeout=20)

        host.kill()
        survivor.wait_for_line("This interface server hosts the channel layer")
        eventually(lambda: echo(socket, "two") == "first two", timeout=20)
        eventually(lambda: _reaches(project, socket), timeout=20)


def _reaches(project: Project, socket: ClientConnection) -> bool:
    group_send(project, "to the group")
    try:
        while socket.recv(timeout=scaled(2)) != "to the group":
            pass
    except TimeoutError:
        return False
    return True


def test_a_worker_that_cannot_use_the_folder_ends_with_a_sentence_alone() -> None:
    with own_project() as project:
        routing = 'from channels_classic import route\nchannel_routing = [route("group.join", lambda message: None)]\n'
        project.write("mysite/routing.py", routing)
        open_to_all = project.folder / "open"
        open_to_all.mkdir(mode=0o755)
        layer = {"ROUTING": "mysite.routing.channel_routing", "CONFIG": {"path": str(open_to_all / "layer.sock")}}
        with (project.folder / "mysite/settings.py").open("a") as settings:
            settings.write(f"CHANNEL_LAYERS = {{'default': {layer!r}}}\n")
        worker = project.run("runworker")
        assert worker.wait() == 1
        assert "expected a folder of user" in worker.output
        assert "Traceback" not in worker.output
