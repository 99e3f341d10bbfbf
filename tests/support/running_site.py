"""The site of `tests/projects/site` as real processes, on the embedded layer or on Redis."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from websockets.asyncio.client import ClientConnection, connect

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.site import HOST, ROOT, Site
from tests.support.waiting import scaled

FOLDER = ROOT / "tests" / "projects" / "site"
MANAGE = FOLDER / "manage.py"


class RunningSite(Site):
    """`with RunningSite() as site:` has an interface server and `workers` workers, on a layer of its own."""

    def __init__(self, redis_url: str | None = None, *, workers: int = 2, options: tuple[str, ...] = ()) -> None:
        self.redis_url = redis_url
        self._temporary = tempfile.TemporaryDirectory(prefix="site-")
        self.path = f"{self._temporary.name}/layer"
        environment = {"REDIS_URL": redis_url, "LAYER_PATH": self.path}
        super().__init__(FOLDER, environment, workers=workers, options=options)

    def stop(self) -> None:
        super().stop()
        self._temporary.cleanup()

    @contextmanager
    def layer(self) -> Iterator[BaseChannelLayer]:
        """The site's layer, for the test to send from a process of its own."""
        hosts = (self.redis_url or "").split(",")
        layer = RedisChannelLayer(hosts=hosts) if self.redis_url else LocalChannelLayer(path=self.path)
        try:
            yield layer
        finally:
            layer.close()

    def socket(self, path: str = "/") -> connect:
        """Return a WebSocket, to be opened with `async with`."""
        return connect(
            f"ws://{HOST}:{self.port}{path}",
            open_timeout=scaled(30),
            ping_interval=None,
            compression=None,
            max_queue=None,
        )

    @asynccontextmanager
    async def sockets(self, count: int, path: str = "/room") -> AsyncIterator[list[ClientConnection]]:
        """Open `count` sockets."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.socket(path)) for _ in range(count)]
