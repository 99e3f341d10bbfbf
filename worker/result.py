"""What one message came to: how it ended, and what its consumer sent. Plain data, on the way to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery, Outgoing, Report


@dataclass(slots=True)
class ConsumerResult:
    """How a message ended, and what its consumer sent. `outcome` is None when it was put back: others report then."""

    delivery: Delivery
    reply_channel: str | None
    outcome: Outcome | None = Outcome.RAISED
    sends: list[Outgoing] = field(default_factory=list)
    delegated: bool = False
    interrupt: KeyboardInterrupt | None = None

    def reports(self) -> list[Report]:
        """Let the report for the gate of the client, if one is due, travel with the last send, or give it.

        A request is answered by its response, so only failures are reported, and none that something else may answer.
        """
        token = self.delivery.token
        if token is None or self.outcome is None or self.reply_channel is None:
            return []
        if self.delivery.channel == "http.request" and (
            self.outcome is Outcome.CONSUMED or (self.outcome is Outcome.RAISED and self.delegated)
        ):
            return []
        report = Report(self.reply_channel, token, self.outcome)
        last = self.sends[-1] if self.sends else None
        if last is None or last.group or last.name != self.reply_channel:
            return [report]  # it must not arrive before what was sent
        last.report = report
        return []

    def split(self) -> ConsumerResult:
        """Move what was sent so far to a result of its own, which reports nothing."""
        sends = [send for send in self.sends if send.token is None]
        self.sends[:] = [send for send in self.sends if send.token is not None]  # the message itself, put back
        return ConsumerResult(replace(self.delivery, token=None), self.reply_channel, sends=sends)

    def unsendable(self, send: Outgoing) -> None:
        """Take note that one of `sends` cannot be sent: the client must not wait for it."""
        if send.token is not None or (send.name == self.reply_channel and self.outcome is Outcome.CONSUMED):
            self.outcome = Outcome.RAISED
