"""Tests of what a connection has written and not read, decided without a connection, a layer or a clock."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import pytest

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import StepRefused
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import EntryKind, Outcome, decode
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Delivery, Outgoing, Planner, Report
from channels_classic.layers.results import Audience, Item, PushStatus
from channels_classic.layers.steps import Push
from channels_classic.worker.inflight import NoRecord
from channels_classic.worker.outstanding import RETRY_TIME, Outstanding, Written
from channels_classic.worker.result import ConsumerResult

CLIENT = "inbox.abc!client"
REFUSED = StepRefused("the test", "it refuses")
AGAIN = StepRefused("the test", "it forgot its scripts", again=True)


class Record(NoRecord):
    """Keeps what was released."""

    def __init__(self) -> None:
        self.released: list[Delivery] = []

    def release(self, delivery: Delivery) -> None:
        self.released.append(delivery)


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def outstanding(losses: Losses, record: Record) -> Outstanding:
    return Outstanding(Planner(60, 3600, Capacities(100, None), losses), losses, record, ThrottledLog())


def result(*sends: Outgoing, outcome: Outcome | None = Outcome.CONSUMED, token: str | None = None) -> ConsumerResult:
    delivery = Delivery("test", {"reply_channel": CLIENT}, token, Item(b"", None))
    return ConsumerResult(delivery, CLIENT, outcome, list(sends))


def written(outstanding: Outstanding, *results: ConsumerResult) -> list[Push]:
    """The commands that were written for results; each has not been answered."""
    pushes = outstanding.outgoing(outstanding.plan(results, {}))
    outstanding.wrote(Written(pushes, [result.delivery for result in results]))
    return pushes


def messages(pushes: Sequence[Push]) -> list[Any]:
    """The messages and reports in pushes."""
    decoded = [decode(entry.payload) for push in pushes for entry in push.entries]
    return [fields[0] if kind == EntryKind.MESSAGE else Outcome(fields[-1]) for kind, *fields in decoded]


def test_what_was_accepted_is_finished_and_nothing_is_left(outstanding: Outstanding, record: Record) -> None:
    one = result(Outgoing("a", {"n": 1}), Outgoing("b", {"n": 2}))
    pushes = written(outstanding, one)
    assert outstanding.is_busy and outstanding.unread is not None
    assert record.released == []
    outstanding.answered([[PushStatus.ACCEPTED], [PushStatus.ACCEPTED]], now=0)
    assert record.released == [one.delivery]
    assert messages(pushes) == [{"n": 1}, {"n": 2}]
    assert not outstanding.is_busy


def test_reports_go_out_with_the_next_write_once(outstanding: Outstanding) -> None:
    outstanding.owe([Report(CLIENT, "token", Outcome.RUNNING)])
    assert outstanding.has_unwritten and outstanding.is_busy
    assert messages(written(outstanding)) == [Outcome.RUNNING]
    assert not outstanding.has_unwritten
    outstanding.answered([[PushStatus.ACCEPTED]], now=0)
    assert messages(written(outstanding)) == []


def test_an_answer_without_pushes_finishes_messages(outstanding: Outstanding, record: Record) -> None:
    silent = result()
    written(outstanding, silent)
    outstanding.answered([], now=0)
    assert record.released == [silent.delivery]


@pytest.mark.parametrize("refusal", [REFUSED, AGAIN])
def test_refused_pushes_are_retried_in_order_until_their_time_is_over(
    outstanding: Outstanding, losses: Losses, caplog: pytest.LogCaptureFixture, refusal: StepRefused
) -> None:
    pushes = written(outstanding, result(Outgoing("a", {"n": 1}), Outgoing("b", {"n": 2})))
    outstanding.answered([refusal, refusal], now=10)
    assert outstanding.has_refused
    again = outstanding.retried(now=11)
    assert again.pushes == pushes
    assert not outstanding.has_refused
    outstanding.wrote(again)
    outstanding.answered([refusal, [PushStatus.ACCEPTED]], now=11)
    assert outstanding.retried(now=10 + RETRY_TIME).pushes == []
    assert losses.as_dict() == {"refused": 1}
    assert caplog.text.count("were not accepted") == (refusal is REFUSED)


def test_entries_for_a_full_channel_are_retried_and_those_accepted_are_not(
    outstanding: Outstanding, losses: Losses
) -> None:
    written(outstanding, result(Outgoing("a", {"n": 1}), Outgoing("a", {"n": 2})))
    outstanding.answered([[PushStatus.ACCEPTED, PushStatus.FULL]], now=0)
    assert messages(outstanding.retried(now=1).pushes) == [{"n": 2}]
    assert losses.as_dict() == {}


def test_members_of_a_group_that_are_full_miss_its_message(outstanding: Outstanding, losses: Losses) -> None:
    groups = {"room": Audience({}, ["member"], ())}
    pushes = outstanding.plan([result(Outgoing("room", {"n": 1}, group=True))], groups)
    outstanding.wrote(Written(pushes))
    outstanding.answered([[PushStatus.FULL]], now=0)
    assert (outstanding.has_refused, losses.as_dict()) == (False, {"full": 1})


def test_unanswered_messages_are_lost_and_only_their_reports_are_repeated(
    outstanding: Outstanding, losses: Losses, record: Record
) -> None:
    one = result(Outgoing("a", {"n": 1}), token="token")
    written(outstanding, one)
    outstanding.disconnected()
    assert (losses.as_dict(), record.released, outstanding.unread) == ({"broker": 1}, [one.delivery], None)
    assert messages(written(outstanding)) == [Outcome.CONSUMED]


def test_a_report_that_travelled_with_a_lost_message_is_repeated(outstanding: Outstanding) -> None:
    pushes = written(outstanding, result(Outgoing(CLIENT, {"n": 1}), token="token"))
    assert len(pushes) == 1, "the report travels with the reply"
    outstanding.disconnected()
    assert messages(written(outstanding)) == [Outcome.CONSUMED]


def test_refused_messages_are_lost_with_the_connection(outstanding: Outstanding, losses: Losses) -> None:
    written(outstanding, result(Outgoing("a", {"n": 1})))
    outstanding.answered([[PushStatus.FULL]], now=0)
    outstanding.disconnected()
    assert (losses.as_dict(), outstanding.is_busy) == ({"full": 1}, False)


@pytest.mark.parametrize("end", ["its time is over", "the connection breaks"])
def test_reports_in_a_push_that_stays_refused_are_kept(outstanding: Outstanding, losses: Losses, end: str) -> None:
    written(outstanding, result(Outgoing(CLIENT, {"n": 1}), Outgoing("a", {"n": 2}), token="token"))
    outstanding.answered([REFUSED] * 3, now=0)
    if end == "its time is over":
        assert outstanding.retried(now=RETRY_TIME).pushes == []
    else:
        outstanding.disconnected()
    assert losses.as_dict() == {"refused": 2}
    assert messages(written(outstanding)) == [Outcome.CONSUMED]


def test_a_report_that_was_refused_is_written_again_until_it_would_have_expired(outstanding: Outstanding) -> None:
    outstanding.owe([Report(CLIENT, "token", Outcome.CONSUMED)])
    written(outstanding)
    outstanding.answered([REFUSED], now=0)
    outstanding.retried(now=RETRY_TIME)
    for now in (10, 61):
        assert messages(written(outstanding)) == [Outcome.CONSUMED]
        outstanding.answered([REFUSED], now=now)
        assert not outstanding.has_refused, "nothing waits for it"
    assert messages(written(outstanding)) == [Outcome.CONSUMED]
    outstanding.answered([REFUSED], now=60 + RETRY_TIME)
    assert not outstanding.is_busy


def test_reports_for_a_full_inbox_are_written_again_together(outstanding: Outstanding, losses: Losses) -> None:
    outstanding.owe([Report(CLIENT, "token", Outcome.RUNNING)])
    written(outstanding)
    outstanding.owe([Report(CLIENT, "token", Outcome.CONSUMED)])
    written(outstanding)
    outstanding.answered([[PushStatus.FULL]], now=0)
    outstanding.answered([[PushStatus.FULL]], now=0)
    assert not outstanding.has_refused, "no thread waits for it"
    pushes = written(outstanding)
    assert (len(pushes), messages(pushes)) == (1, [Outcome.RUNNING, Outcome.CONSUMED])
    outstanding.answered([[PushStatus.ACCEPTED, PushStatus.ACCEPTED]], now=1)
    assert (outstanding.is_busy, losses.as_dict()) == (False, {})


def test_the_client_of_a_message_that_was_to_be_put_back_is_told_when_it_is_lost(outstanding: Outstanding) -> None:
    outstanding.lose(Outgoing("test", {"reply_channel": CLIENT}, token="token"), "broker")
    assert messages(written(outstanding)) == [Outcome.DROPPED]


@pytest.mark.parametrize(
    "bad", [Outgoing("a", {"n": object()}), Outgoing("no such name!!", {}), Outgoing("no group!", {}, group=True)]
)
def test_a_message_that_cannot_be_sent_is_dropped_alone(
    outstanding: Outstanding, caplog: pytest.LogCaptureFixture, bad: Outgoing
) -> None:
    assert messages(written(outstanding, result(bad, Outgoing("a", {"n": 1})))) == [{"n": 1}]
    assert re.search(
        "Lost a message for .*, sent by a consumer of test while it consumed a message of test", caplog.text
    )


def test_a_client_whose_reply_cannot_be_sent_does_not_wait_for_it(outstanding: Outstanding) -> None:
    unsendable = result(Outgoing(CLIENT, {"n": object()}), token="token")
    assert messages(written(outstanding, unsendable)) == [Outcome.RAISED]


def test_each_push_is_retried_for_as_long_since_its_own_first_refusal(outstanding: Outstanding, losses: Losses) -> None:
    for now in (0.0, 1.9):
        written(outstanding, result(Outgoing("a", {"at": now})))
        outstanding.answered([[PushStatus.FULL]], now=now)
    for now, left in ((1.95, [0.0, 1.9]), (2.0, [1.9]), (3.8, [1.9]), (3.95, [])):
        again = outstanding.retried(now)
        assert messages(again.pushes) == [{"at": at} for at in left]
        outstanding.wrote(again)
        outstanding.answered([[PushStatus.FULL]] * len(left), now)
    assert losses.as_dict() == {"full": 2}


def consumer(message: Any) -> None:
    """A consumer to be blamed."""


class Consumer:
    """Another one."""

    def __call__(self, message: Any) -> None:
        """Consume."""


@pytest.mark.parametrize(
    ("message", "blamed"),
    [
        ({"a": 1, "b": object()}, r"the key \['b'\] has a value of type object"),
        ({"a": {"rows": [1, {"when": 2**70}]}}, r"the key \['a'\]\['rows'\]\[1\]\['when'\] has a value of type int"),
        ({"small": "x", "big": b"x" * 9_000_000, "medium": b"x" * 1_000_000}, r"Its largest key is 'big'"),
        ({"one": b"x" * 5_000_000, "two": b"x" * 6_000_000}, r"Its largest key is 'two'"),
    ],
)
@pytest.mark.parametrize("blamed_consumer", [consumer, functools.partial(consumer), Consumer()])
def test_the_log_names_the_consumer_its_place_and_the_key_of_a_message_that_cannot_be_sent(
    outstanding: Outstanding, caplog: pytest.LogCaptureFixture, message: Any, blamed: str, blamed_consumer: Any
) -> None:
    one = result(Outgoing("answers", message))
    one.consumer = blamed_consumer
    assert messages(written(outstanding, one)) == []
    assert len(re.findall(blamed, caplog.text)) == 1
    assert re.search(r"for answers, sent by .*onsumer.* \(.*test_outstanding\.py:\d+\) while", caplog.text)


def test_a_consumer_without_a_source_file_is_named(outstanding: Outstanding, caplog: pytest.LogCaptureFixture) -> None:
    one = result(Outgoing("answers", {"n": object()}))
    scope: dict[str, Any] = {}
    exec("def made(message): pass", scope)
    one.consumer = scope["made"]
    written(outstanding, one)
    # Python 3.13 gives the file of such a function as "<string>"; earlier releases give none.
    assert re.search(r"sent by made( \(<string>:1\))? while", caplog.text)


def test_pushes_that_were_never_written_are_lost_and_their_reports_kept(
    outstanding: Outstanding, losses: Losses
) -> None:
    outstanding.give_up(outstanding.plan([result(Outgoing("a", {"n": 1}), token="token")], {}))
    assert losses.as_dict() == {"broker": 1}
    assert messages(written(outstanding)) == [Outcome.CONSUMED]
