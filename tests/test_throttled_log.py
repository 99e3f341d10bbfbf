"""The log that writes few lines of each kind."""

from __future__ import annotations

import logging

import pytest

from channels_classic._throttled_log import ThrottledLog

logger = logging.getLogger("channels_classic.interface_server")


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_warning_of_many_is_written_once_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    throttled = ThrottledLog(clock=clock)
    for number in range(5):
        throttled.warn(logger, "warning %d", number)
    clock.now += 11.0
    throttled.warn(logger, "warning %d", 5)
    assert caplog.messages == ["warning 0", "warning 5 (4 more were not logged before)"]


def test_each_kind_has_lines_and_an_interval_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    throttled = ThrottledLog(2, 1.0, clock)
    for number in range(3):
        throttled.warn(logger, "one %d", number)
    clock.now += 0.9
    for number in range(3):
        throttled.error(logger, "another %d", number)
    clock.now += 0.2
    throttled.warn(logger, "one %d", 3)
    throttled.error(logger, "another %d", 3)
    assert caplog.messages == ["one 0", "one 1", "another 0", "another 1", "one 3 (1 more were not logged before)"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2 + ["ERROR"] * 2 + ["WARNING"]
