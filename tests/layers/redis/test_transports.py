"""Redis over TLS and over a Unix socket, on both faces: redis-py opens these connections, and we speak on them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.redis import RedisChannelLayer, RedisSentinelChannelLayer
from channels_classic.layers.steps import Take
from tests.support import redis_server as redis_programs
from tests.support.redis_server import RedisServer, Sentinel

LARGE = {"text": "x" * 300_000}
"""More than one read, and more than one record of TLS."""


@pytest.fixture(params=["tls", "unix"])
def server_and_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RedisServer, str]]:
    if redis_programs.PROGRAM is None:
        pytest.skip("There is no redis-server here.")
    options, url = _unix(tmp_path) if request.param == "unix" else _tls(tmp_path)
    server = RedisServer(**options)
    try:
        server.start()
        yield server, url
    finally:
        server.close()


def _unix(folder: Path) -> tuple[dict[str, Any], str]:
    return {"unixsocket": folder / "redis.sock"}, f"unix://{folder}/redis.sock"


def _tls(folder: Path) -> tuple[dict[str, Any], str]:
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl here to make a certificate with.")
    port, certificate, key = redis_programs.free_port(), folder / "certificate.pem", folder / "key.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    )
    subprocess.run(make.split(), check=True, capture_output=True)
    options = {"tls_port": port, "tls_cert_file": certificate, "tls_key_file": key, "tls_auth_clients": "no"}
    return options, f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"


@pytest.fixture
def layer(server_and_url: tuple[RedisServer, str]) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[server_and_url[1]])
    yield layer
    layer.close()


def connections(server: Any) -> int:
    """Return how many were made so far, without those of questions like this."""
    server.questions = getattr(server, "questions", 0) + 1
    questions: int = server.questions
    return int(server.info("stats")["total_connections_received"]) - questions


def test_a_thread_sends_and_receives_on_one_connection(
    layer: RedisChannelLayer, server_and_url: tuple[RedisServer, str]
) -> None:
    before = connections(server_and_url[0])
    for message in ({"n": 1}, LARGE, {"n": 2}):
        layer.send("jobs", message)
        assert layer.receive(["jobs"]) == ("jobs", message)
    assert connections(server_and_url[0]) - before == 1


def test_a_take_that_waits_is_woken(layer: RedisChannelLayer) -> None:
    connection = layer.connect()
    connection.write([Take(["jobs"], 1, 30.0)])
    waking = threading.Timer(0.2, connection.wake)
    waking.start()
    assert connection.read() is None
    waking.join()
    connection.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_coroutines_send_and_receive(layer: RedisChannelLayer, run: Callable[..., Any]) -> None:
    async def exchange(channel: str) -> None:
        for message in ({"n": 1}, LARGE, {"n": 2}):
            await layer.send_async(channel, message)
            assert await layer.receive_async([channel]) == (channel, message)

    async def scenario() -> None:
        await asyncio.gather(*(exchange(f"jobs.{number}") for number in range(3)))
        await layer.close_async()

    run(scenario())


def test_a_certificate_that_nobody_vouches_for_is_told_from_a_server_that_does_not_run(tmp_path: Path) -> None:
    if redis_programs.PROGRAM is None:
        pytest.skip("There is no redis-server here.")
    options, url = _tls(tmp_path)
    server = RedisServer(**options)
    layer = RedisChannelLayer(hosts=[url.partition("?")[0]])

    async def send() -> None:
        with pytest.raises(LayerUnavailable, match=r"certificate.*\. Check the certificates, and that"):
            await layer.send_async("jobs", {})

    try:
        server.start()
        with pytest.raises(LayerUnavailable, match=r"certificate.*\. Check the certificates, and that"):
            layer.send("jobs", {})
        asyncio.run(send())
    finally:
        server.close()


def test_a_server_that_answers_runs() -> None:
    if redis_programs.PROGRAM is None:
        pytest.skip("There is no redis-server here.")
    server = RedisServer(rename_command="TIME another")
    try:
        server.start()
        with pytest.raises(LayerUnavailable, match=r"unknown command.*\. The server runs, and answered this") as caught:
            RedisChannelLayer(hosts=[server.url]).receive(["jobs"])
        assert "Check that the server runs" not in str(caught.value)
    finally:
        server.close()


@pytest.mark.parametrize("how", [{"ssl": True, "ssl_cert_reqs": "none"}, {"ssl_check_hostname": False}])
def test_sentinels_and_masters_are_reached_over_tls(tmp_path: Path, how: dict[str, Any]) -> None:
    if redis_programs.PROGRAM is None:
        pytest.skip("There is no redis-server here.")
    options, _ = _tls(tmp_path)
    certificate = options["tls_cert_file"]
    with ExitStack() as stack:
        master, address = RedisServer(**options), RedisServer()
        address.port = options["tls_port"]
        port = redis_programs.free_port()
        options |= {"tls_port": port, "tls_replication": "yes", "tls_ca_cert_file": certificate}
        sentinel = Sentinel({"mymaster": address}, **options)
        for server in (address, master, sentinel):
            stack.callback(server.close)
        master.start()
        sentinel.start()
        kwargs = {"ssl_ca_certs": str(certificate), **how}
        layer = RedisSentinelChannelLayer(hosts=[("localhost", port)], connection_kwargs=kwargs)
        stack.callback(layer.close)
        layer.send("jobs", {"n": 1})
        assert layer.receive(["jobs"]) == ("jobs", {"n": 1})
        assert master.info("clients")["connected_clients"]
