"""The sends and the reports that come of one consumer."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from channels_classic.generic.websockets import WebsocketDemultiplexer
from channels_classic.handler import ViewConsumer
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


class Rows:
    """The consumer of a stream."""


class Demultiplexer(WebsocketDemultiplexer):
    """A consumer of two streams."""

    consumers: ClassVar[dict[str, Any]] = {"rows": Rows, "other": object}


@pytest.mark.parametrize(
    ("frame", "source"),
    [
        ({"stream": "rows", "payload": {}}, r"\.Rows \(.*test_result\.py:\d+\) for stream 'rows' of .*\.Demultiplexer"),
        ({"stream": "none", "payload": {}}, r"\.Demultiplexer \(.*test_result\.py:\d+\)"),
        ([], r"\.Demultiplexer \(.*test_result\.py:\d+\)"),
    ],
)
def test_the_consumer_of_a_stream_is_named_instead_of_its_demultiplexer(frame: Any, source: str) -> None:
    delivery = Delivery("websocket.receive", {"text": json.dumps(frame)}, None, Item(b"", None))
    assert re.search(f"{source}$", ConsumerResult(delivery, None, consumer=Demultiplexer).source)


def test_a_request_is_named_with_the_consumer_of_all_views() -> None:
    delivery = Delivery("http.request", {"method": "GET", "path": "/rows/\n"}, None, Item(b"", None))
    source = ConsumerResult(delivery, None, consumer=ViewConsumer()).source
    assert re.search(r"ViewConsumer \(.*handler\.py:\d+\) for 'GET /rows/\\n'$", source)


def test_a_consumer_is_named_although_its_file_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "changing_consumers.py"
    file.write_text("\n\n\ndef consumer(message):\n    pass\n")
    consumer = importlib.import_module(file.stem).consumer
    file.write_text('\n\n\ndef other(\n    """not closed')
    result = ConsumerResult(Delivery("test", {}, None, Item(b"", None)), None, consumer=consumer)
    assert "changing_consumers" in result.source
    del sys.modules[file.stem]
