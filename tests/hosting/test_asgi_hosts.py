"""The interface server as an application under each well-known ASGI server, alone and beside Django's."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.processes import Process
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
HOST = "127.0.0.1"

HOSTS: dict[str, Callable[[str, int], Sequence[str]]] = {
    "uvicorn": lambda application, port: ["uvicorn", application, "--port", str(port)],
    "hypercorn": lambda application, port: ["hypercorn", application, "--bind", f"{HOST}:{port}"],
    "granian": lambda application, port: ["granian", "--interface", "asgi", application, "--port", str(port)],
}


@contextmanager
def hosted(host: str, application: str, folder: Path, port: int, workers: int = 1) -> Iterator[Process]:
    """A host with the application, and a worker."""
    environment = {"LAYER_PATH": f"{folder}/layer", "DJANGO_SETTINGS_MODULE": None, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", *HOSTS[host](f"tests.hosting.asgi:{application}", port)]
    with Process(arguments, env=environment, cwd=folder) as server:
        server.wait_for_port(port)
        if not workers:
            yield server
        else:
            with Process(
                [sys.executable, ROOT / "tests/projects/site/manage.py", "runworker"], env=environment
            ) as worker:
                worker.wait_for_line("Listening on channels")
                yield server


def get(port: int, method: str = "GET", path: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", HOSTS)
def test_it_serves_alone_under_every_host(host: str, tmp_path: Path, free_port: int) -> None:
    with hosted(host, "alone", tmp_path, free_port) as server:
        eventually(lambda: get(free_port) == (200, b"Hello, world"), timeout=15)
        assert get(free_port, "HEAD") == (200, b"")
        assert get(free_port, "POST", "/count", b"x" * 3_000_000) == (200, b"3000000")
        status, body = get(free_port, path="/stream/5")
        assert (status, len(body)) == (200, 5_000_000)
        with connect(f"ws://{HOST}:{free_port}/room") as first, connect(f"ws://{HOST}:{free_port}/room") as second:
            for number in range(50):
                first.send(f"{number}")
            assert [first.recv(10) for _ in range(50)] == [f"{number}" for number in range(50)]
            second.send("hello")
            assert second.recv(10) == "hello"
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{HOST}:{free_port}/connect-broken").__enter__()
        assert refused.value.response.status_code == 403
        assert "Traceback" not in server.output  # what hosts say of their own end is their business
        with connect(f"ws://{HOST}:{free_port}/") as client:
            server.stop()
            with pytest.raises(ConnectionClosed):
                client.recv(10)


@pytest.mark.parametrize("host", HOSTS)
def test_it_serves_sockets_beside_djangos_own_application(host: str, tmp_path: Path, free_port: int) -> None:
    with hosted(host, "beside", tmp_path, free_port) as server:
        assert get(free_port) == (200, b"Hello, world")
        with connect(f"ws://{HOST}:{free_port}/") as client:
            client.send("hello")
            assert client.recv(10) == "hello"
    assert "Traceback" not in server.output


def test_http_beside_django_needs_no_worker(tmp_path: Path, free_port: int) -> None:
    with hosted("uvicorn", "beside", tmp_path, free_port, workers=0):
        assert get(free_port) == (200, b"Hello, world")
