"""Beside Channels 4: its consumers, routers and layer, and ours, in one project, as `docs/channels-4.md` describes.

`make test-hosting` makes an environment with `channels` and `channels_redis` for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.hosting.test_asgi_hosts import HOST, ROOT, get
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually

PYTHON = os.environ.get("CHANNELS_4_PYTHON", str(ROOT / ".venv-channels-4/bin/python"))

pytestmark = pytest.mark.skipif(
    not Path(PYTHON).exists(), reason="`make test-hosting` makes the environment with Channels 4"
)


@pytest.fixture(params=["embedded", "redis"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> dict[str, str | None]:
    """The environment of the site's processes; Channels 4 is always on Redis."""
    found: dict[str, str | None] = {
        "DJANGO_SETTINGS_MODULE": "tests.hosting.channels_4_settings",
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": redis_url,
    }
    if request.param == "embedded":
        found |= {"CLASSIC_ON": "local", "LAYER_PATH": f"{tmp_path}/layer"}
    return found


def manage(environment: Mapping[str, str | None], *arguments: str) -> Process:
    return Process([PYTHON, "-m", "django", *arguments], env=environment, cwd=ROOT)


@contextmanager
def served(environment: Mapping[str, str | None], application: str, port: int) -> Iterator[Process]:
    program = [PYTHON, "-m", "uvicorn", f"tests.hosting.channels_4:{application}", "--port", str(port)]
    with Process(program, env=environment, cwd=ROOT) as server:
        server.wait_for_port(port)
        yield server


@contextmanager
def one_process(environment: Mapping[str, str | None]) -> Iterator[tuple[int, int]]:
    """Both libraries in one server, with a worker; the ports of Channels 4 and of ours."""
    port = free_port()
    with served(environment, "application", port) as server, manage(environment, "runworker") as worker:
        worker.wait_for_line("Listening on channels")
        yield port, port
        assert "Traceback" not in server.output + worker.output


@contextmanager
def two_processes(environment: Mapping[str, str | None]) -> Iterator[tuple[int, int]]:
    """A server for each of them, as behind a proxy that decides by the path."""
    modern, classic = free_port(), free_port()
    with ExitStack() as stack:
        interface = stack.enter_context(manage(environment, "runinterface", "--port", str(classic)))
        interface.wait_for_port(classic)
        server = stack.enter_context(served(environment, "channels_alone", modern))
        worker = stack.enter_context(manage(environment, "runworker"))
        worker.wait_for_line("Listening on channels")
        yield modern, classic
        assert "Traceback" not in server.output + worker.output + interface.output


def socket(port: int, path: str) -> ClientConnection:
    return connect(f"ws://{HOST}:{port}{path}")


@pytest.mark.parametrize("arrangement", [one_process, two_processes])
def test_consumers_and_groups_of_both_work_side_by_side(
    environment: dict[str, str | None], arrangement: object
) -> None:
    assert callable(arrangement)
    with arrangement(environment) as (modern, classic), ExitStack() as stack:
        assert get(modern) == (200, b"Hello, world")
        shout, chat = (stack.enter_context(socket(modern, path)) for path in ("/shout/", "/chat/"))
        room, sender = (stack.enter_context(socket(classic, path)) for path in ("/room", "/room/to-modern"))

        for client, answer in ((shout, "HELLO"), (room, "hello"), (chat, "modern hello")):
            client.send("hello")
            assert client.recv(10) == answer
        chat.send("classic greetings")
        assert [client.recv(10) for client in (room, sender)] == ["classic greetings"] * 2
        chat.send("at once greetings")
        assert [client.recv(10) for client in (room, sender)] == ["at once greetings"] * 2
        sender.send("from a worker")
        assert chat.recv(10) == "modern from a worker"


def test_a_socket_of_channels_4_may_be_quiet_for_longer_than_its_layer_waits(
    environment: dict[str, str | None],
) -> None:
    with one_process(environment) as (port, _), socket(port, "/chat/") as chat:
        time.sleep(6)  # channels_redis waits for 5 seconds, and redis 8 for an answer no longer by default
        chat.send("hello")
        assert chat.recv(10) == "modern hello"


def test_runserver_says_that_it_serves_no_consumers_of_channels_4(environment: dict[str, str | None]) -> None:
    with manage(environment, "runserver", str(free_port()), "--noreload") as server:
        server.wait_for_line("ASGI_APPLICATION is not served here: for consumers of Channels 4")


def test_the_checks_are_silent_about_this_arrangement(environment: dict[str, str | None]) -> None:
    with manage(environment, "check", "--fail-level", "WARNING") as check:
        assert check.wait() == 0, check.output


def test_one_setting_for_both_is_warned_of_because_it_cannot_work(environment: dict[str, str | None]) -> None:
    shared = {**environment, "SHARED": "1"}
    with manage(shared, "check", "--fail-level", "WARNING") as check:
        assert check.wait() == 1
    assert "channels_classic.W007" in check.output and "CHANNELS_CLASSIC_LAYERS" in check.output
    port = free_port()
    with served(shared, "application", port), pytest.raises(InvalidStatus, match="500"):
        socket(port, "/chat/")


@pytest.mark.parametrize("program", ["runinterface", "runworker"])
def test_a_layer_of_channels_4_alone_is_named_as_such(environment: dict[str, str | None], program: str) -> None:
    foreign = {**environment, "FOREIGN": "1"}
    with manage(foreign, "check", "--fail-level", "WARNING") as check:
        assert check.wait() == 1
    assert "channels_classic.W008" in check.output
    with manage(foreign, program) as running:
        assert running.wait() == 1
    assert "is for Channels 2 and later" in running.output and "CHANNELS_CLASSIC_LAYERS" in running.output
    assert "Traceback" not in running.output


def test_the_worker_of_channels_4_is_not_taken_for_ours(environment: dict[str, str | None]) -> None:
    first = {**environment, "APPS": "channels,channels_classic"}
    with manage(first, "check") as check:
        assert check.wait() == 0
    assert "`manage.py runworker` is that of 'channels'" in check.output
    program = [
        str(Path(PYTHON).with_name("channels-classic")),
        "worker",
        "--settings",
        str(first["DJANGO_SETTINGS_MODULE"]),
    ]
    with Process(program, env=first, cwd=ROOT) as worker:
        eventually(lambda: "Running 1 process" in worker.output or not worker.running, timeout=20)
        assert worker.running, worker.output
