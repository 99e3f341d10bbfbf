"""Honest sockets beside some that send as fast as they can: by how much their echoes come later than without those.

`python -m benchmarks.floods URL [--seconds …]` prints the figures as JSON. An honest socket sends a message, waits for
its echo, and pauses a little; the others never stop sending, and read what comes. With a limit they are closed after
ten seconds, so `--seconds` is at most six.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from benchmarks.clients import Figures, spread
from benchmarks.command_line import Address, client_parser, print_figures
from benchmarks.sockets import Socket, frame, open_sockets

FLOODS = 64
HONEST = 8
PAUSE = 0.02
"""Seconds between two messages of an honest socket, which is slower than the rate that sockets may have."""

BURST_TIMEOUT = 3.0
"""Seconds after which the server is done with what sockets may send at once, beyond their rate."""

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
        await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)
    return times


async def echoes(sockets: Sequence[Socket], seconds: float) -> Figures:
    """Return the spread of the echoes of all honest sockets."""
    found = await asyncio.gather(*(honest(socket, seconds) for socket in sockets))
    return spread([taken for times in found for taken in times])


async def measure(address: Address, seconds: float) -> Figures:
    """Measure without the others and with them, for `seconds` each."""
    host, port, path = address
    sockets = await open_sockets(host, port, path, HONEST)
    await echoes(sockets, 1.0)
    before = await echoes(sockets, seconds)
    loop = asyncio.get_running_loop()
    floods = [(await loop.create_connection(lambda: Flood(host, path), host, port))[1] for _ in range(FLOODS)]
    await asyncio.gather(*(flood.opened for flood in floods))
    for flood in floods:
        flood.begin()
    await asyncio.sleep(BURST_TIMEOUT)
    beside = await echoes(sockets, seconds)
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
