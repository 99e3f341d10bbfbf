"""The factor by which all deadlines of the tests are longer."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.waiting import eventually, eventually_async, scaled


def test_deadlines_are_as_many_times_longer_as_the_factor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.waiting.TIME_FACTOR", 4.0)
    assert scaled(2) == 8
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"still None after 0\.2 s"):
        eventually(lambda: None, timeout=0.05)
    with pytest.raises(AssertionError, match=r"still None after 0\.2 s"):
        asyncio.run(eventually_async(lambda: None, timeout=0.05))
    assert time.monotonic() - began >= 0.4


@pytest.mark.timeout(20)
def test_the_time_for_a_whole_test_is_scaled_too(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("timeout")
    assert marker.args == (scaled(20),)
