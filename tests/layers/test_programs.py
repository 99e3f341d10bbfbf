"""The facts that programs announce, and what becomes of announcements that are strange."""

from __future__ import annotations

import os
import socket
from typing import Any

import msgpack
import pytest

from channels_classic import __version__
from channels_classic.layers.programs import InterfaceFacts, ProgramAnnouncer, WorkerFacts, decode


def test_an_announcement_is_read_as_it_was_made() -> None:
    step = ProgramAnnouncer().announce(WorkerFacts, threads=3, busy=1, channels=["jobs"], running={"consumer": 1})
    facts = decode(step.facts)
    assert isinstance(facts, WorkerFacts)
    assert (facts.host, facts.pid, facts.version) == (socket.gethostname(), os.getpid(), __version__)
    assert (facts.threads, facts.busy, facts.channels, facts.running) == (3, 1, ["jobs"], {"consumer": 1})
    assert facts.uptime >= 0


def test_each_process_has_a_name_of_its_own_and_keeps_it() -> None:
    one, other = ProgramAnnouncer(), ProgramAnnouncer()
    assert one.announce(InterfaceFacts).program == one.withdraw().program
    assert one.withdraw().program != other.withdraw().program
    assert one.withdraw().ttl == 0


def test_facts_of_another_release_are_read_as_far_as_they_are_known() -> None:
    facts = decode(msgpack.packb(["interface", {"host": "a", "sockets": 7, "later": [1]}]))
    assert facts == InterfaceFacts(host="a", sockets=7)


@pytest.mark.parametrize(
    "announcement",
    [
        b"",
        b"\xc1",
        b"not msgpack at all",
        msgpack.packb(None),
        msgpack.packb(["interface"]),
        msgpack.packb(["a kind of a later release", {}]),
        msgpack.packb([["interface"], {}]),
        msgpack.packb(["interface", 5]),
        msgpack.packb(["interface", {"sockets": "many"}]),
        msgpack.packb(["interface", {"sockets": True}]),
        msgpack.packb(["interface", {"largest_groups": {"a": "b"}}]),
        msgpack.packb(["worker", {"channels": "jobs"}]),
        msgpack.packb(["worker", {"uptime": float("nan")}]),  # JSON has no form for it
        msgpack.packb(["worker", {"running": {"a": float("inf")}}]),
    ],
)
def test_an_announcement_that_cannot_be_read_is_none(announcement: Any) -> None:
    assert decode(announcement) is None
