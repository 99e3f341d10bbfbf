"""The states of one request, from its message to the end of its response, and the answers when its message fails.

Tables. Pure. A request that nobody answers in time is answered by `Request.due`.
"""

from __future__ import annotations

from enum import Enum

from channels_classic.layers.codec import Outcome

from ..layer.writer import SendResult


class RequestState(Enum):
    """The state of a request. `FAILED`, `GONE` and `COMPLETE` are final for the workers."""

    WAITING = "waiting"
    """No worker is known to have the message."""
    RUNNING = "running"
    """A worker reported that it runs, or sent a part of the response."""
    FAILED = "failed"
    """Nothing further comes from the workers. What came is written, then an error page or a cut."""
    GONE = "gone"
    """The client left, or was cut off: nothing further is written."""
    COMPLETE = "complete"
    """All of the response was written."""


class RequestEvent(Enum):
    """An event that moves a request from one state to another."""

    TAKEN = "taken"
    FAILED = "failed"
    LEFT = "left"
    WRITTEN = "written"


TRANSITIONS = {
    (RequestState.WAITING, RequestEvent.TAKEN): RequestState.RUNNING,
    (RequestState.WAITING, RequestEvent.FAILED): RequestState.FAILED,
    (RequestState.WAITING, RequestEvent.LEFT): RequestState.GONE,
    (RequestState.RUNNING, RequestEvent.FAILED): RequestState.FAILED,
    (RequestState.RUNNING, RequestEvent.LEFT): RequestState.GONE,
    (RequestState.RUNNING, RequestEvent.WRITTEN): RequestState.COMPLETE,
    (RequestState.FAILED, RequestEvent.LEFT): RequestState.GONE,
    (RequestState.FAILED, RequestEvent.WRITTEN): RequestState.COMPLETE,
}
"""All transitions; any other pair changes nothing.

FAILED → COMPLETE is deliberate: a consumer may raise after it has sent its whole response, which is written then.
"""

UNHEARD = (RequestState.FAILED, RequestState.GONE, RequestState.COMPLETE)
"""States in which parts of a response are ignored."""

STATUS_BY_RESULT = {
    SendResult.FULL: 503,
    SendResult.UNAVAILABLE: 503,
    SendResult.REFUSED: 503,
    SendResult.LOST: 503,
    SendResult.INVALID: 413,
}
"""The answer to a request whose message was not accepted."""

LOSS_BY_RESULT = {
    SendResult.FULL: "full",
    SendResult.UNAVAILABLE: "broker",
    SendResult.REFUSED: "refused",
    SendResult.LOST: "broker",
    SendResult.INVALID: "invalid",
}
"""The kind of loss of a message that was not accepted."""

STATUS_BY_OUTCOME = {
    Outcome.RAISED: 500,
    Outcome.UNROUTED: 500,
    Outcome.DIED: 500,
    Outcome.EXPIRED: 503,
    Outcome.DROPPED: 503,
}
"""The answer when a message ended like this before any response began."""
