"""Puts messages that have not been started back to the head of their channels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import Outcome
from channels_classic.layers.names import inbox_of
from channels_classic.layers.planner import Delivery, Report
from channels_classic.layers.steps import PutBack

from .context import Context

logger = logging.getLogger("channels_classic.worker")


def put_back(context: Context, deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Report]]:
    """Put messages back; return those that are certainly still here, and reports for those that are lost.

    If the layer refuses, because its memory is full for instance, or cannot be reached, the caller keeps a message. If
    the connection breaks before the answer, the message may be back on its channel: it is counted as lost.
    """
    if not all(delivery.item.can_be_put_back for delivery in deliveries):  # a project's own `receive` took them
        return list(deliveries), []
    if not deliveries:
        return [], []
    for delivery in deliveries:
        # First: if this process dies, messages that others have must not be recorded here.
        context.in_flight.release(delivery)
    # A step for each message, so that each has a result of its own; the last one first, as each goes to the head.
    answers = dict(zip(map(id, reversed(deliveries)), _run(context, deliveries[::-1]), strict=True))
    kept, lost, refusal = [], [], None
    for delivery in deliveries:
        answer = answers[id(delivery)]
        if isinstance(answer, StepRefused) or (isinstance(answer, LayerUnavailable) and not answer.written):
            kept.append(delivery)
            refusal = answer
        elif isinstance(answer, LayerUnavailable):
            lost.append(delivery)
            refusal = answer
    if refusal is None:
        logger.debug("Put back %d messages of %s.", len(deliveries), deliveries[0].channel)
    else:
        context.refusals.error(
            logger,
            "Could not put back messages of %s: %d stay with this worker, %d are lost. %s",
            deliveries[0].channel,
            len(kept),
            len(lost),
            refusal,
        )
    context.counts.put_back += len(deliveries) - len(kept) - len(lost)
    context.in_flight.hold(kept)
    return kept, lose(context, lost, Outcome.DROPPED)


def lose(context: Context, deliveries: Sequence[Delivery], outcome: Outcome) -> list[Report]:
    """Count messages as lost with the layer; return reports for the clients that wait for them."""
    for delivery in deliveries:
        context.in_flight.release(delivery)
        context.layer.losses.count("broker", inbox_of(delivery.channel))
    return [report for delivery in deliveries if (report := delivery.report(outcome)) is not None]


def _run(context: Context, deliveries: Sequence[Delivery]) -> list[Any]:
    steps = [PutBack(inbox_of(delivery.channel), [delivery.item]) for delivery in deliveries]
    try:
        return context.layer.run(steps)
    except LayerUnavailable as error:
        return [error] * len(steps)
