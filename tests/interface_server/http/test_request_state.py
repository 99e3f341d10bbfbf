"""The table of the states of a request."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.http.request_state import TRANSITIONS, RequestEvent, RequestState

FINAL = (RequestState.GONE, RequestState.COMPLETE)


def after(*events: RequestEvent) -> RequestState:
    """Return the state after events from the beginning; one that has no transition changes nothing."""
    state = RequestState.WAITING
    for event in events:
        state = TRANSITIONS.get((state, event), state)
    return state


@pytest.mark.parametrize("state", FINAL)
def test_nothing_follows_a_final_state(state: RequestState) -> None:
    assert not [event for event in RequestEvent if (state, event) in TRANSITIONS]


@pytest.mark.parametrize("state", [state for state in RequestState if state not in FINAL])
def test_a_client_may_leave_in_any_other(state: RequestState) -> None:
    assert TRANSITIONS[state, RequestEvent.LEFT] is RequestState.GONE


def test_a_response_that_was_complete_before_its_consumer_failed_is_written() -> None:
    events = RequestEvent.TAKEN, RequestEvent.FAILED, RequestEvent.WRITTEN
    assert after(*events) is RequestState.COMPLETE


def test_a_worker_that_reports_after_a_failure_changes_nothing() -> None:
    assert after(RequestEvent.FAILED, RequestEvent.TAKEN) is RequestState.FAILED


def test_nothing_can_be_written_before_a_worker_sent_it() -> None:
    assert after(RequestEvent.WRITTEN) is RequestState.WAITING
