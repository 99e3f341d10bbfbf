"""An interface server for tests: real sockets, a memory layer in this process, and the means to play a worker."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.config import ClientLimits
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Delivery, Report
from channels_classic.layers.steps import Take
from tests.support.waiting import scaled

TIMEOUT = 10.0
"""Seconds for one answer; what waits here scales them."""


class Live:
    """A server that runs in a thread, and its layer."""

    def __init__(self, server: Server, layer: BaseChannelLayer) -> None:
        self.server = server
        self.layer = layer
        self.port: int = server.sockets[0].getsockname()[1]

    # The server

    @property
    def session(self) -> LayerSession:
        """Its session with the layer."""
        session = self.server._uvicorn._session
        assert session is not None
        return session

    @property
    def connections(self) -> Collection[Any]:
        """The protocols of its open connections."""
        return self.server._uvicorn.server_state.connections

    @property
    def handshakes(self) -> int:
        """The number of connections that have no protocol yet."""
        return sum(accepting.handshakes for accepting in self.server._uvicorn.servers)

    # The worker

    def take(self, channel: str, timeout: float = TIMEOUT) -> Delivery:
        """Take the next message of a channel as our own worker does: its end is not reported yet."""
        (taken,) = self.layer.run([Take([channel], 1, scaled(timeout))])
        assert taken is not None, f"no message on {channel} within {timeout} s"
        (delivery,), _ = self.layer.open(taken)
        return delivery

    def has_none(self, channel: str) -> bool:
        """Return True if a channel holds no message now."""
        (taken,) = self.layer.run([Take([channel], 1, 0.0)])
        return taken is None

    def report(self, delivery: Delivery, outcome: Outcome = Outcome.CONSUMED) -> None:
        """Tell how a message ended."""
        assert delivery.token is not None
        assert delivery.reply_channel is not None
        report = Report(delivery.reply_channel, delivery.token, outcome)
        self.layer.run(self.layer.planner.pushes([], {}, [report]))

    def consume(self, channel: str, *replies: dict[str, Any]) -> dict[str, Any]:
        """Take a message, send replies to its reply channel and report it consumed; gives the message."""
        delivery = self.take(channel)
        assert delivery.reply_channel is not None
        for reply in replies:
            self.layer.send(delivery.reply_channel, reply)
        if delivery.token is not None:
            self.report(delivery)
        return delivery.message

    # The client

    @contextmanager
    def websocket(self, path: str = "/", **options: Any) -> Iterator[ClientConnection]:
        """A WebSocket that a consumer accepted at once."""
        acceptance = threading.Thread(target=self.consume, args=("websocket.connect", {"accept": True}))
        acceptance.start()
        with self.handshake(path, **options) as client:
            acceptance.join()
            yield client

    def handshake(self, path: str = "/", **options: Any) -> ClientConnection:
        """A WebSocket that is answered by whoever plays the worker."""
        options = {"compression": None, "ping_interval": None, "open_timeout": scaled(TIMEOUT), **options}
        # Entered here, because websockets warns of connections that are used without; with may enter it again.
        client: ClientConnection = connect(f"ws://127.0.0.1:{self.port}{path}", **options).__enter__()
        return client

    def http(self) -> http.client.HTTPConnection:
        """A connection for requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=scaled(TIMEOUT))

    def raw(self) -> socket.socket:
        """A connection for bytes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=scaled(TIMEOUT))


@contextmanager
def live(
    layer: BaseChannelLayer | None = None,
    listen: Listen | None = None,
    limits: dict[str, Any] | None = None,
    drain: float = 0.0,
    **options: Any,
) -> Iterator[Live]:
    """Run a server with `options` of `InterfaceConfig`, `limits` and `drain` until the end of the block."""
    layer = layer or ChannelLayer()
    config = InterfaceConfig(**options)
    application = InterfaceServer(layer, config)
    server = Server(application, config, listen or Listen(port=0), ClientLimits(**(limits or {})), drain)
    with running(server, layer) as found:
        yield found


def _stack_of(thread: threading.Thread) -> str:
    return "".join(traceback.format_stack(sys._current_frames()[thread.ident or 0]))


@contextmanager
def running(server: Server, layer: BaseChannelLayer) -> Iterator[Live]:
    """Run a server until the end of the block."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.ready.wait(scaled(TIMEOUT))
        yield Live(server, layer)
    finally:
        server.stop()
        thread.join(scaled(2 * TIMEOUT))
        assert not thread.is_alive(), _stack_of(thread)
        layer.close()
