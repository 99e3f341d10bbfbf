"""An honest socket beside sockets that send as fast as they can: by how much its echoes come later than without them.

`python -m benchmarks.floods URL [--seconds …]` prints the figures as JSON. The honest socket sends a message, waits for
its echo, and pauses a little; the others never stop sending, and read what comes.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.clients import Figures, spread
from benchmarks.command_line import Address, client_parser, print_figures
from benchmarks.sockets import Socket, frame, open_sockets

FLOODS = 64
PAUSE = 0.02
"""Seconds between two messages of the honest socket, which is slower than the rate that sockets may have."""

BATCH = frame(b"x" * 100) * 100
"""The frames that a flooding socket writes at once."""


class Flood(Socket):
    """A socket that sends as fast as the server reads."""

    _is_full = True

    def begin(self) -> None:
        """Send from now on."""
        self._is_full = False
        self._go_on()

    def _go_on(self) -> None:
        while not self._is_full and not self.closed:
            self.write(BATCH)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self.begin()


async def honest(socket: Socket, seconds: float) -> list[float]:
    """Return the times of echoes, one after the other."""
    loop = asyncio.get_running_loop()
    times, message = [], frame(b"honest")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        echo: asyncio.Future[None] = loop.create_future()
        socket.on_frames = lambda count, echo=echo: echo.set_result(None)  # type: ignore[misc]
        begun = time.perf_counter()
        socket.write(message)
        await asyncio.wait_for(echo, 30)
        times.append(time.perf_counter() - begun)
        await asyncio.sleep(PAUSE)
    return times


async def measure(address: Address, seconds: float) -> Figures:
    """Measure without the others and with them, for `seconds` each."""
    host, port, path = address
    (socket,) = await open_sockets(host, port, path, 1)
    await honest(socket, 1.0)
    before = spread(await honest(socket, seconds))
    loop = asyncio.get_running_loop()
    floods = [(await loop.create_connection(lambda: Flood(host, path), host, port))[1] for _ in range(FLOODS)]
    await asyncio.gather(*(flood.opened for flood in floods))
    for flood in floods:
        flood.begin()
    await asyncio.sleep(1.0)
    beside = spread(await honest(socket, seconds))
    return {
        "ms, 99 %, alone": before["ms, 99 %"],
        **beside,
        "times the 99 % alone": beside["ms, 99 %"] / before["ms, 99 %"],
        "closed": sum(flood.closed for flood in floods),
    }


def main() -> None:
    """Print the figures."""
    options = client_parser(__doc__).parse_args()
    print_figures(measure(options.url, options.seconds))


if __name__ == "__main__":
    main()
