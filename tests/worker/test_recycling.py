"""The limits after which a worker process is replaced."""

from __future__ import annotations

import pytest

from channels_classic.worker.recycling import Recycling, resident_memory


def test_it_asks_once_after_a_number_of_messages() -> None:
    reasons: list[str] = []
    recycling = Recycling(3, 0, reasons.append, lambda: 0.0)
    for _ in range(5):
        recycling.consumed(1)
    assert reasons == ["it has consumed 3 messages"]


def test_it_never_asks_without_limits() -> None:
    reasons: list[str] = []
    recycling = Recycling(0, 0, reasons.append, lambda: 0.0)
    recycling.consumed(1_000_000)
    assert reasons == []


def test_memory_is_measured_now_and_then() -> None:
    reasons: list[str] = []
    now = [0.0]
    recycling = Recycling(0, int(resident_memory()) + 60, reasons.append, lambda: now[0])
    recycling.consumed(1)
    held = b"x" * (120 * 2**20)
    recycling.consumed(1)
    assert reasons == []  # it was measured a moment ago
    now[0] = 1.0
    recycling.consumed(1)
    assert [reason.split(" to ")[0] for reason in reasons] == ["it has grown"]
    del held


def test_a_limit_below_what_the_process_needs_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    reasons: list[str] = []
    Recycling(0, 1, reasons.append, lambda: 0.0).consumed(1)
    assert reasons == []
    assert "Ignoring --max-memory 1" in caplog.text
