"""The site of `tests/projects/site` as real processes: an interface server, workers, and a layer of its own."""

from __future__ import annotations

import http.client
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType

from websockets.asyncio.client import ClientConnection, connect

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.processes import Process
from tests.support.redis_server import free_port

HOST = "127.0.0.1"
MANAGE = Path(__file__).parent.parent / "projects" / "site" / "manage.py"


class RunningSite:
    """`with RunningSite() as site:` has an interface server and as many workers as asked, on a layer of its own."""

    def __init__(self, redis_url: str | None = None, *, workers: int = 2, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.redis_url = redis_url
        self.options = options
        self.workers: list[Process] = []
        self._count = workers
        self._folder = tempfile.TemporaryDirectory(prefix="site-")
        self.path = f"{self._folder.name}/layer"
        self.environment = {"DJANGO_SETTINGS_MODULE": None, "REDIS_URL": redis_url, "LAYER_PATH": self.path}

    def __enter__(self) -> RunningSite:
        try:
            self.interface = self.run("runinterface", "--bind", HOST, "--port", str(self.port), *self.options)
            self.interface.wait_for_port(self.port)
            self.start_workers(self._count)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, *arguments: str) -> Process:
        """Start `manage.py` with these arguments."""
        return Process([sys.executable, MANAGE, *arguments], env=self.environment)

    def start_workers(self, count: int) -> None:
        """Start workers and return when they work."""
        self.workers = [self.run("runworker") for _ in range(count)]
        for worker in self.workers:
            worker.wait_for_line("Listening on channels")
        if count:
            assert self.get("/") == (200, b"Hello, world"), self.output

    def stop_workers(self) -> None:
        for worker in self.workers:
            assert worker.stop() == 0, worker.output
        self.workers = []

    def stop(self) -> None:
        for program in (*self.workers, *([self.interface] if hasattr(self, "interface") else [])):
            program.stop()
        self._folder.cleanup()

    @contextmanager
    def layer(self) -> Iterator[BaseChannelLayer]:
        """The site's layer, for the test to send from a process of its own."""
        hosts = (self.redis_url or "").split(",")
        layer = RedisChannelLayer(hosts=hosts) if self.redis_url else LocalChannelLayer(path=self.path)
        try:
            yield layer
        finally:
            layer.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and the content of a page."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @asynccontextmanager
    async def sockets(self, count: int, path: str = "/room") -> AsyncIterator[list[ClientConnection]]:
        """So many open sockets."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.socket(path)) for _ in range(count)]

    def socket(self, path: str = "/") -> connect:
        """One socket, to be opened with `async with`."""
        return connect(
            f"ws://{HOST}:{self.port}{path}", open_timeout=30, ping_interval=None, compression=None, max_queue=None
        )

    @property
    def output(self) -> str:
        """Return the output of the running programs so far."""
        return "".join(program.output for program in (self.interface, *self.workers))
