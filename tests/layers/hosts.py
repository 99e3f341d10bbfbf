"""A host of the local layer for tests: in a thread of the tests' own process, or in a process that can be killed."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from channels_classic.layers.local import LocalChannelLayer
from tests.support.processes import Process
from tests.support.waiting import scaled

_PROGRAM = """
import asyncio, sys
from channels_classic.layers.local import LocalChannelLayer

async def main():
    layer = LocalChannelLayer(path=sys.argv[1])
    await layer.start()
    print("hosts" if layer.host else "is a client", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def folder() -> Iterator[str]:
    """A folder for a socket, with a path that is short enough."""
    with tempfile.TemporaryDirectory(prefix="local-", dir="/tmp") as name:
        yield name


class HostThread:
    """An event loop in a thread that hosts a layer until it is stopped."""

    def __init__(
        self, path: str, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop, **config: Any
    ) -> None:
        self.layer = LocalChannelLayer(path=path, **config)
        self.loop = new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="host")
        self._thread.start()
        self.run(self.layer.start())

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine on the host's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(scaled(10))

    def stop(self) -> None:
        self.run(self.layer.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(scaled(10))
        self.loop.close()


def host_process(path: str) -> Process:
    """A process that starts a layer, says whether it hosts, and goes on until it is stopped."""
    return Process([sys.executable, "-c", _PROGRAM, path])
