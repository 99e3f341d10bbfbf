"""Sends to groups: who gets them, and what recoverable groups keep of them. Both are asked before anything is pushed.

A look-up changes nothing, so it is tried again after a break. Keeping is not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.names import check_group
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.pool import refused_for_now
from channels_classic.layers.results import Audience, Recorded
from channels_classic.layers.steps import Lookup, Record, Step

from .context import Context
from .link import Link
from .outstanding import RETRY_PAUSES, RETRY_TIME, Outstanding

logger = logging.getLogger("channels_classic.worker")

_NOWHERE = Recorded(Audience({}, (), ()), 0, 0)
"""Of a message for a group that was given up: it is pushed to nobody."""


class GroupSends:
    """Finds the audiences of groups for one connection, and lets recoverable groups keep their messages."""

    def __init__(self, context: Context, link: Link, outstanding: Outstanding) -> None:
        self._planner = context.layer.planner
        self._clock = context.clock
        self._refusals = context.refusals
        self._link = link
        self._outstanding = outstanding

    def prepare(self, sends: Sequence[Outgoing]) -> dict[str, Audience] | None:
        """Return the audiences of the groups in `sends` that keep nothing, after the others have kept what is theirs.

        Connects if necessary. None if the worker stops before that: then everything in `sends` is lost, and counted.
        """
        audiences = self._look_up(sends)
        if audiences is not None and self._keep(sends):
            return audiences
        for send in sends:
            if send.recorded is not _NOWHERE:
                self._outstanding.lose(send, "broker")
        return None

    def _look_up(self, sends: Sequence[Outgoing]) -> dict[str, Audience] | None:
        """Return the audiences of the groups in `sends` that keep nothing; None if the worker stops before that."""
        plain = [send for send in sends if send.group and send.retention is None and _is_group(send.name)]
        if not plain:
            return {} if self._link.connect() else None
        names = list(dict.fromkeys(send.name for send in plain))
        results = self._read([*map(Lookup, names)])
        found = None if results is None else self._with_members(dict(zip(names, results, strict=True)))
        if found is None:
            return None
        for send in plain:
            refusal = found[send.name]
            if isinstance(refusal, StepRefused):
                self._refuse(send, refusal)
        return {name: audience for name, audience in found.items() if isinstance(audience, Audience)}

    def _keep(self, sends: Sequence[Outgoing]) -> bool:
        """Let recoverable groups keep what is for them, and note who gets it; return False if the worker stops first.

        What was cut off is lost: it may have been kept, and have left the group again, so a second attempt may deliver
        it twice. What was refused is tried again unless the group has kept a later message of these.
        """
        records = self._outstanding.records(sends)
        if not records:
            return True
        recorded: list[tuple[Outgoing, Recorded]] = []
        pause, longest = RETRY_PAUSES
        deadline = 0.0  # once the layer has refused one
        while records:
            steps = [step for _, step in records]
            if not (self._link.connect() and self._link.probe(steps)):
                return False
            try:
                results = self._link.ask(steps)
            except LayerUnavailable as error:
                self._link.lose(error)
                for send, _ in records:
                    self._give_up(send, "broker")
                break
            now = self._clock()
            deadline = deadline or now + RETRY_TIME
            records, kept = self._refused_for_now([*zip(records, results, strict=True)], is_late=now >= deadline)
            recorded += kept
            if records:
                time.sleep(pause)
                pause = min(pause * 2, longest)
                self._link.close_if_misplaced()
        return self._note_receivers(recorded)

    def _refused_for_now(
        self, results: Sequence[tuple[tuple[Outgoing, Record], Any]], is_late: bool
    ) -> tuple[list[tuple[Outgoing, Record]], list[tuple[Outgoing, Recorded]]]:
        """Return the records to try again, and what was recorded; the rest is lost."""
        again, kept = [], []
        later: set[str] = set()  # the groups that have kept a later message
        for (send, step), result in reversed(results):
            if isinstance(result, Recorded):
                kept.append((send, result))
                later.add(send.name)
            elif refused_for_now([result]) and not is_late and send.name not in later:
                again.append((send, step))
            else:
                self._refuse(send, result)
        return again[::-1], kept[::-1]

    def _note_receivers(self, recorded: Sequence[tuple[Outgoing, Recorded]]) -> bool:
        found = self._with_members({send.name: result.audience for send, result in recorded})
        if found is None:
            return False
        for send, result in recorded:
            audience = found[send.name]
            if isinstance(audience, StepRefused):
                self._refuse(send, audience)
            else:
                send.recorded = result._replace(audience=audience)
        return True

    def _with_members(self, found: Mapping[str, Audience | StepRefused]) -> dict[str, Audience | StepRefused] | None:
        """Replace inboxes of other releases by their members; None if the worker stops before they are known."""
        audiences = {name: audience for name, audience in found.items() if isinstance(audience, Audience)}
        questions = [each for name, audience in audiences.items() for each in self._planner.foreign(name, audience)]
        results = self._read(questions)
        if results is None:
            return None
        made = dict(found)
        for name, audience in audiences.items():
            answers = zip(questions, results, strict=True)
            rosters = {question.inbox: roster for question, roster in answers if question.group == name}
            refusal = next((roster for roster in rosters.values() if isinstance(roster, StepRefused)), None)
            made[name] = refusal or self._planner.audience(audience, rosters)
        return made

    def _read(self, questions: Sequence[Step]) -> list[Any] | None:
        """Return the results of steps that change nothing, once the layer is up; None if the worker stops before that.

        They are tried again after a break, and while the layer refuses them for a passing reason.
        """
        pause, longest = RETRY_PAUSES
        deadline = 0.0  # once the layer has refused one
        while self._link.connect():
            if not questions:
                return []
            try:
                results = self._link.ask(questions)
            except LayerUnavailable as error:
                self._link.lose(error)
                continue
            now = self._clock()
            deadline = deadline or now + RETRY_TIME
            if now >= deadline or not refused_for_now(results):
                return results
            time.sleep(pause)
            pause = min(pause * 2, longest)
            self._link.close_if_misplaced()
        return None

    def _refuse(self, send: Outgoing, refusal: StepRefused) -> None:
        self._refusals.error(logger, "Lost a message for the group %s: %s", send.name, refusal)
        self._give_up(send, "refused")

    def _give_up(self, send: Outgoing, kind: str) -> None:
        """Count a message for a group as lost, before it was pushed to anybody."""
        send.recorded = _NOWHERE
        self._outstanding.lose(send, kind)


def _is_group(name: str) -> bool:
    try:
        return bool(check_group(name))
    except TypeError:
        return False  # the planner raises the reason where the message is dropped
