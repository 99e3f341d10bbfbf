"""Counting losses by kind, and logging each kind once per interval."""

from __future__ import annotations

import logging

import pytest

from channels_classic.layers import losses
from channels_classic.layers.losses import INTERVAL, KINDS, QUIET, Losses


class Clock:
    """The time that `losses` reads."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(losses, "time", clock)
    return clock


def test_every_loss_is_counted_by_kind() -> None:
    counted = Losses()
    counted.count("full", "chat")
    counted.count("full", "other", 4)
    counted.count("expired", "chat", 2)
    assert counted.as_dict() == {"full": 5, "expired": 2}


def test_a_count_that_is_taken_back_is_reported_neither_as_a_loss_nor_as_less_than_none() -> None:
    counted = Losses()
    counted.count("unheard", "chat")
    counted.take_back("unheard", "chat")
    assert counted.as_dict() == {}
    assert counted.unreported() == []
    counted.count("unheard", "chat")
    assert counted.unreported() == [("unheard", "chat", 1)]
    counted.take_back("unheard", "chat")
    assert counted.unreported() == [("unheard", "chat", -1)]


def test_no_loss_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    counted = Losses()
    counted.count("full", "chat", 0)
    assert counted.as_dict() == {}
    assert caplog.records == []


def test_a_kind_is_said_once_per_interval_with_what_came_meanwhile(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Losses()
    counted.count("full", "first")
    for _ in range(6):
        counted.count("full", "silent")
    clock.now += INTERVAL
    counted.count("full", "last")
    assert [record.getMessage() for record in caplog.records] == [
        f"Lost 1 message(s), the last one for first: {KINDS['full']}.",
        f"Lost 7 message(s), the last one for last: {KINDS['full']}.",
    ]


def test_each_kind_has_an_interval_of_its_own(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = Losses()
    for kind in KINDS:
        counted.count(kind, "chat")
        counted.count(kind, "chat")
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == len(KINDS) - len(QUIET)


def test_a_client_that_is_gone_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="channels_classic.layers")
    Losses().count("unknown", "inbox!gone")
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
