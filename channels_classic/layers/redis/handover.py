"""Proof that a server that was promoted misses nothing which the former master did: then the epoch continues.

A promoted replica does not know whether it has seen everything, but the former master does once it follows. Redis lets
it continue with the new master's stream only if its own history is a part of the new one's; otherwise, if it has done
anything that the replica missed, it must copy all data. A server that continued keeps the id of its own history as
`master_replid2`; one that copied has none. So the proof is a server that

* has the run id of the process that served the epoch, so it is the one that handed messages out,
* is a replica with the history of the new master (`master_replid`),
* and continued from the history in which it served (`master_replid2`).

A planned fail-over (`FAILOVER`, `CLUSTER FAILOVER`) ends so within milliseconds. Where the proof does not come soon, as
after a crash, a new epoch begins and drops what waits: to lose messages is allowed, to deliver them twice is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import redis

TIMEOUT = 1.5
"""Seconds in which the former master must have followed."""

INTERVAL = 0.05
"""Seconds between two looks."""

QUICK = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
"""In seconds: a server that does not answer must not use up the time."""

UNPROVEN = "-"
"""Tells the script that no proof came."""

Info = Mapping[str, str]
"""The fields of a reply to `INFO`."""


class Former(NamedTuple):
    """The process that served the epoch, and the id of its history."""

    server: str
    lineage: str

    @property
    def proof(self) -> str:
        """The text by which the script knows that this one's data is complete here."""
        return f"{self.server}:{self.lineage}"


def fields_of(info: bytes) -> Info:
    """Return the fields of a reply to `INFO`."""
    return dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)


def replicas(info: Info) -> Iterator[dict[str, Any]]:
    """Return the addresses of the replicas of a master."""
    for name, text in info.items():
        if name.startswith("slave") and name[5:].isdecimal():
            fields = dict(field.split("=", 1) for field in text.split(","))
            yield {"host": fields["ip"], "port": int(fields["port"])}


def proves(former: Former, lineage: str, info: Info) -> bool:
    """Return whether a server with this `INFO` is the former master, and continued in the history `lineage`."""
    return (
        info.get("run_id") == former.server
        and info.get("role") == "slave"
        and info.get("master_replid") == lineage
        and info.get("master_replid2") == former.lineage
    )


def find_proof(former: Former, lineage: str, open_at: Callable[[dict[str, Any]], Any]) -> str:
    """Look for the former master among the replicas; return the argument for the script. Blocks for up to `TIMEOUT`.

    `open_at` makes a connection of redis-py to an address; without any, to the new master.
    """
    deadline = time.monotonic() + TIMEOUT
    while True:
        with suppress(redis.RedisError, OSError):
            for address in replicas(_ask(open_at({}))):
                with suppress(redis.RedisError, OSError):
                    if proves(former, lineage, _ask(open_at(address))):
                        return former.proof
        if time.monotonic() >= deadline:
            return UNPROVEN
        time.sleep(INTERVAL)


def _ask(raw: Any) -> Info:
    try:
        raw.connect()
        found: dict[str, str] = {}
        for section in ("server", "replication"):
            raw.send_command("INFO", section)
            found |= fields_of(raw.read_response(disable_decoding=True))
        return found
    finally:
        raw.disconnect()
