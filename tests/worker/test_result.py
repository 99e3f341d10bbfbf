"""The sends and the reports that come of one consumer."""

from __future__ import annotations

import pytest

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery, Outgoing, Report
from channels_classic.layers.results import Item
from channels_classic.worker.result import ConsumerResult


@pytest.mark.parametrize("others", [["plain"], ["box!other"], ["room"]])
def test_a_report_travels_with_the_reply_unless_something_else_was_sent_behind_it(others: list[str]) -> None:
    sends = [Outgoing(name, {}, group=name == "room") for name in (*others, "box!me")]
    delivery = Delivery("test", {"reply_channel": "box!me"}, "7", Item(b"", None))
    report = Report("box!me", "7", Outcome.CONSUMED)
    assert ConsumerResult(delivery, "box!me", Outcome.CONSUMED, sends).reports() == []
    assert [send.report for send in sends] == [None, report]
    sends = [Outgoing(send.name, {}, send.group) for send in reversed(sends)]
    assert ConsumerResult(delivery, "box!me", Outcome.CONSUMED, sends).reports() == [report]
    running_report = Report("box!me", "7", Outcome.RUNNING)
    assert [send.report for send in sends] == [running_report, None], "only by which the reply is recognised"
