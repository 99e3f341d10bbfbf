"""Drops: clients lose their network for two seconds, every ten seconds, while messages go to their recoverable group.

`python -m benchmarks.drops URL --sockets 1000`. A lost network is a connection that is aborted, and none for two
seconds; the times of the clients are spread evenly. The messages go to the Redis that `REDIS_URL` names.
"""

from __future__ import annotations

import asyncio

from benchmarks.command_line import Address, client_parser, print_figures
from benchmarks.feed import Feed, Follower, all_arrived, all_joined
from benchmarks.sockets import Socket

LOST = 2.0
"""Seconds for which a network is lost."""

PERIODS = 3
"""The losses of each client."""

TOGETHER = 50
"""Handshakes at once while the sockets are opened."""

TIMEOUT = 20.0
"""Seconds after the last loss within which everything must have come."""


class Client(Follower):
    """A page that comes back with its cursor."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._host, self._port, self._path = address
        self.drops = 0

    async def connect(self) -> None:
        """Open a socket and follow the group."""
        loop = asyncio.get_running_loop()
        _, self._socket = await loop.create_connection(self._make_socket, self._host, self._port)
        await self._socket.opened

    def _make_socket(self) -> Socket:
        """Return a socket that notes everything, from the first frame on."""
        socket = Socket(self._host, self._path, self.protocols)
        socket.on_text = self.receive
        return socket

    async def lose_network(self, first: float, period: float) -> None:
        """Lose the network once in each period, for the first time after `first` seconds."""
        await asyncio.sleep(first)
        for _ in range(PERIODS):
            self._socket.on_text = None  # what is on its way does not arrive
            self._socket.close()
            self.drops += 1
            await asyncio.sleep(LOST)
            await self.connect()
            await asyncio.sleep(period - LOST)


async def drops(address: Address, sockets: int, period: float) -> dict[str, float]:
    """Return the figures."""
    clients = [Client(address) for _ in range(sockets)]
    for start in range(0, sockets, TOGETHER):
        await asyncio.gather(*(client.connect() for client in clients[start : start + TOGETHER]))
    await all_joined(clients)
    feed = Feed()
    await asyncio.gather(*(client.lose_network(period * n / sockets, period) for n, client in enumerate(clients)))
    await feed.stop()
    missed = await all_arrived(clients, feed.sent, TIMEOUT)
    return {
        "losses of a network": sum(client.drops for client in clients),
        "messages": feed.sent,
        "% delivered": 100 * (1 - missed / (feed.sent * sockets)),
        "missed": missed,
        "twice": sum(client.twice for client in clients),
        "gaps": sum(client.gaps for client in clients),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = client_parser(__doc__, is_timed=False)  # each client loses its network three times
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--period", type=float, default=10.0, help="seconds from one loss of the network to the next")
    options = parser.parse_args()
    print_figures(drops(options.url, options.sockets, options.period))


if __name__ == "__main__":
    main()
