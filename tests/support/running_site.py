"""The site of `tests/projects/site` as real processes, on the embedded layer or on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from tests.support.site import HOST, ROOT, SiteOnLayer
from tests.support.waiting import scaled

FOLDER = ROOT / "tests" / "projects" / "site"
MANAGE = FOLDER / "manage.py"


class RunningSite(SiteOnLayer):
    """`with RunningSite() as site:` has an interface server and `workers` workers, on a layer of its own."""

    def __init__(self, redis_url: str | None = None, *, workers: int = 2, options: tuple[str, ...] = ()) -> None:
        super().__init__(FOLDER, redis_url, workers=workers, options=options)

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
