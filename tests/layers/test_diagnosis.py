"""The sentences about what is wrong with a site."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from channels_classic.layers.diagnosis import MOST_ALIKE, problems
from channels_classic.layers.programs import InterfaceFacts
from channels_classic.layers.status import ChannelStatus, InterfaceStatus, LayerStatus, MissingProgram, WorkerStatus

SERVER = InterfaceStatus(InterfaceFacts(host="web", pid=1), heard=1.0)
WORKER = WorkerStatus("jobs", 2, "1", 1, 2, 0, 0, {}, ["jobs"], 60.0, 1.0)
JOBS = ChannelStatus("jobs", 0, 0, 10, 0, {}, workers=1)
INBOX = ChannelStatus("interface.v2.x!", 0, 0, 10, 0, {}, owner="web:1")
WELL = LayerStatus([SERVER], [WORKER], [JOBS, INBOX], {}, {"died": 3})


def test_a_site_that_is_well_has_no_problems() -> None:
    assert problems(WELL) == []
    assert problems(replace(WELL, new_losses={"unknown": 3})) == [], "clients leave"
    slow = replace(WORKER, channels=["slow"], routing="slow.routing")
    old = replace(WORKER, routing="")
    assert problems(replace(WELL, workers=[replace(WORKER, routing="jobs.routing"), slow, old])) == []


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (replace(WELL, interface_servers=[]), "No interface server runs"),
        (replace(WELL, workers=[]), "No worker runs"),
        (replace(WELL, channels=[replace(JOBS, waiting=3, oldest=4, workers=0)]), "No worker listens on jobs, where 3"),
        (
            replace(WELL, channels=[replace(JOBS, name="asgi.delay", waiting=3, oldest=4, workers=0)]),
            "^`rundelay` does not run, .* asgi.delay, where 3",
        ),
        (
            replace(WELL, workers=[replace(WORKER, routing="a.routing"), replace(WORKER, pid=3, routing="b.routing")]),
            "jobs:2 and jobs:3 take from .* jobs, with .* a.routing and b.routing.* `prefix`",
        ),
        (
            replace(
                WELL,
                workers=[replace(WORKER, busy=2, running={"shop.slow": 2})],
                channels=[replace(JOBS, waiting=9, oldest=5)],
            ),
            r"runs shop.slow × 2 in 2 of 2 thread\(s\), while 9 message\(s\) wait on jobs, the oldest for 5 s",
        ),
        (replace(WELL, channels=[replace(INBOX, waiting=5000)]), "5000 entries.*inbox of the interface server web:1"),
        (replace(WELL, channels=[replace(INBOX, waiting=1, oldest=9)]), "inbox of the interface server web:1"),
        (replace(WELL, interface_servers=[replace(SERVER, heard=20.0)]), "interface server web:1 has not reported"),
        (replace(WELL, workers=[replace(WORKER, heard=20.0)]), "worker jobs:2 has not reported for 20 s"),
        (
            replace(WELL, missing=[MissingProgram("worker", "b", 7, 90.0)]),
            "of a worker, b:7, was last heard of 90 s ago",
        ),
        (replace(WELL, new_losses={"refused": 2}), r"2 message\(s\) were lost a moment ago \(refused\): the layer ref"),
        (replace(WELL, new_losses={"of a later release": 2}), "see docs/delivery.md"),
        (
            replace(WELL, new_limits={"cut_off memory": 2, "closed 1009": 5}),
            r"^2 client\(s\) .*\(cut_off memory\): .*--so",
        ),
    ],
)
def test_what_is_wrong_is_named(status: LayerStatus, sentence: str) -> None:
    (found,) = problems(status)
    assert re.search(sentence, found)


def test_a_site_of_thousands_of_channels_is_described_in_a_few_lines() -> None:
    many = [replace(JOBS, name=f"jobs.{number}", waiting=1, oldest=number, workers=0) for number in range(5000)]
    status = replace(WELL, channels=many)
    found = problems(status)
    assert len(found) == MOST_ALIKE + 1
    assert found[0].startswith("No worker listens on jobs.4999, "), "the one that waits longest comes first"
    assert found[-1] == f"… and {5000 - MOST_ALIKE} more like the last one."
    running = {f"shop.slow_{number}": 1 for number in range(1000)}
    worker = replace(WORKER, busy=2, running=running, channels=[channel.name for channel in many])
    (sentence,) = problems(replace(status, workers=[worker], channels=[replace(one, workers=1) for one in many]))
    assert len(sentence) < 500 and "× 1 and 997 more in 2 of 2" in sentence
