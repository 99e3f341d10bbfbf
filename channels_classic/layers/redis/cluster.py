"""Redis Cluster: a shard is a hash tag, and the cluster knows which node holds it now.

Each connection leads to one node, without the cluster client of redis-py, which repeats commands. A node that no
longer holds the tag answers with an error, and the next connection asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.redis.connector import Connector, Silent, parameters_of
from channels_classic.layers.redis.layer import RedisChannelLayer

MAX_SHARDS = 1000
"""As many masters as a cluster should have at most, by the documentation of Redis."""


class RedisClusterChannelLayer(RedisChannelLayer):
    """A channel layer in a Redis Cluster.

    `hosts` are some of its nodes, from which the others are found. `shards` is the number of hash tags over which keys
    are spread, evenly over the slots: as many as there are masters. Every process of a deployment gives the same
    number, which stays as it is when nodes come and go. The other arguments are those of `RedisChannelLayer`. A planned
    fail-over (`CLUSTER FAILOVER`) keeps the messages that wait in its shard, any other drops them. Where masters have
    no replicas set `cluster-require-full-coverage no`: otherwise one that is lost stops all.
    """

    def __init__(
        self,
        expiry: float = 60,
        hosts: Iterable[Any] | None = None,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
        symmetric_encryption_keys: Sequence[str] | None = None,
        stats_prefix: str | None = None,
        connection_kwargs: dict[str, Any] | None = None,
        shards: int = 3,
    ) -> None:
        super().__init__(
            expiry=expiry,
            hosts=hosts,
            prefix=prefix,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            stats_prefix=stats_prefix,
            connection_kwargs=connection_kwargs,
        )
        if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= MAX_SHARDS:
            raise ValueError(f"`shards` is {shards!r}: expected a number from 1 to {MAX_SHARDS}.")
        for host in self._hosts:
            given = {**self.connection_kwargs, **host.options, **parameters_of(host.url)}
            if int(given.get("db") or 0):
                raise ValueError("`hosts` or `connection_kwargs` names a database: a cluster has only database 0.")
            if "path" in given:
                raise ValueError("`hosts` names a Unix socket: the nodes of a cluster are reached over TCP.")
        for mark in "{}":
            if mark in self.prefix + self.stats_prefix:
                raise ValueError(f"`prefix` and `stats_prefix` must not contain {mark!r} in a cluster.")
        self.shards = shards

    def _check_shards(self) -> None:
        """Accept a node that is named twice: it is asked for the others."""

    def _connectors(self) -> list[tuple[Connector, str]]:
        nodes = [self._connector(host) for host in self._hosts]
        first = self._hosts[0]
        options = {**self.connection_kwargs, **first.options}
        return [(ClusterConnector(tag, nodes, first.url, options), tag) for tag in tags(self.shards)]


def tags(shards: int) -> list[str]:
    """Return hash tags whose slots lie in the middle of equal ranges, as masters have them; always the same ones."""
    found: dict[int, str] = {}
    width = REDIS_CLUSTER_HASH_SLOTS / shards
    for number in count():
        shard, offset = divmod(key_slot(str(number).encode()), width)
        if width / 4 < offset < 3 * width / 4:
            found.setdefault(int(shard), str(number))
        if len(found) == shards:
            return [found[index] for index in range(shards)]
    raise AssertionError("count() does not end")


class ClusterConnector(Connector):
    """Opens connections to the master that holds the slot of a hash tag."""

    dynamic = True
    questions = (("CLUSTER", "MYID"), ("CLUSTER", "NODES"))

    def place(self, replies: Sequence[Any]) -> tuple[str, list[str]]:
        node, nodes = (reply.decode() for reply in replies)
        masters = []
        for line in nodes.splitlines():
            name, _, flags, *_ = line.split()
            if name != node and "master" in flags.split(",") and not {"fail", "fail?"} & set(flags.split(",")):
                masters.append(name)
        return node, masters

    def __init__(self, tag: str, nodes: Sequence[Connector], url: str, connection_kwargs: dict[str, Any]) -> None:
        super().__init__(url, connection_kwargs)
        self.where = f"cluster, hash tag {tag}"
        self._slot = key_slot(tag.encode())
        self._nodes = nodes
        self._silent = Silent()
        self._found: list[dict[str, Any]] = []

    def address(self) -> dict[str, Any]:
        failures = []
        # Nodes found earlier come last: those in the settings may all have been replaced since.
        raws = [*(node.open() for node in self._nodes), *(self._make(self._pool, known) for known in self._found)]
        for raw in self._silent.last(raws, lambda raw: (raw.host, raw.port)):
            try:
                slots = self._ask(raw)
            except (redis.RedisError, OSError) as error:
                self._silent.note(raw.host, raw.port)
                failures.append(f"{raw.host}:{raw.port}: {error}")
                continue
            masters = [(first, last, _node(master, raw)) for first, last, master, *_ in slots]
            self._found = [address for _, _, address in masters]
            for first, last, address in masters:
                if first <= self._slot <= last:
                    return address
            failures.append(f"{raw.host}:{raw.port}: nobody holds slot {self._slot}")
        raise self.unavailable(ConnectionError("; ".join(failures)))

    @staticmethod
    def _ask(raw: Any) -> Any:
        try:
            raw.connect()
            raw.send_command("CLUSTER", "SLOTS")
            return raw.read_response(disable_decoding=True)
        finally:
            raw.disconnect()

    def unavailable(self, error: BaseException) -> LayerUnavailable:
        text = str(error)
        if isinstance(error, redis.exceptions.AskError):
            error = ConnectionError(f"the slot has moved: {text}")
        return super().unavailable(error)


def _node(node: Any, asked: Any) -> dict[str, Any]:
    host = node[0].decode() if node[0] else asked.host  # empty: the node that was asked
    return {"host": host, "port": node[1]}
