"""The messages of one WebSocket on their way to a channel that is full; the test answers in the layer's place."""

from __future__ import annotations

import asyncio

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.interface_server.layer.timers import Timed
from channels_classic.interface_server.layer.writer import SendResult
from channels_classic.interface_server.websocket.inbound import InboundQueue
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer


class Client(Timed):
    """What the wheel asks; it has nothing to do."""

    slot = None

    def due(self, now: float) -> float:
        return float("inf")


def begun(session: LayerSession, name: str) -> InboundQueue:
    """A WebSocket whose handshake is over, and whose first frame was refused because the channel is full."""
    inbound = InboundQueue(session, Client(), "/", lambda: None, lambda: None)
    inbound.connect({"reply_channel": session.inbox + name})
    answer(session, SendResult.ACCEPTED)
    inbound.report("0", Outcome.CONSUMED)
    inbound.frame(f"first of {name}")
    if session._writer._sends:
        answer(session, SendResult.FULL)
    return inbound


def answer(session: LayerSession, result: SendResult) -> str:
    """Tell the oldest message that was sent its fate, and give its text."""
    send, callback = session._writer._sends.pop(0)
    assert callback is not None
    callback(send, result)
    return str(send.message.get("text"))


def test_a_handshake_counts_as_sent_once_the_layer_has_taken_it() -> None:
    async def scenario() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        session._down.clear()
        inbound = InboundQueue(session, Client(), "/", lambda: None, lambda: None)
        inbound.connect({"reply_channel": session.inbox + "a"})
        assert not inbound.is_sent, "under way for the first time"
        answer(session, SendResult.FULL)
        assert not inbound.is_sent
        session.retry_queues.retry()
        assert not inbound.is_sent, "being tried again"
        answer(session, SendResult.ACCEPTED)
        assert inbound.is_sent

    asyncio.run(scenario())


def test_a_frame_that_waits_keeps_its_place_when_the_report_on_the_one_before_overtakes_the_layers_answer() -> None:
    async def scenario() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        session._down.clear()  # the layer is there, though nothing is started
        _, second, _ = [begun(session, name) for name in ("a", "b", "c")]
        session.retry_queues.retry()
        assert answer(session, SendResult.ACCEPTED) == "first of a"
        assert [send.message["text"] for send, _ in session._writer._sends] == ["first of b", "first of c"]
        second.frame("second of b")
        second.report("1", Outcome.CONSUMED)  # comes by another connection than the answer
        answer(session, SendResult.ACCEPTED)
        answer(session, SendResult.ACCEPTED)
        session.retry_queues.retry()
        assert [send.message["text"] for send, _ in session._writer._sends] == ["second of b"]

    asyncio.run(scenario())


def test_a_frame_that_a_worker_took_to_its_grave_is_counted_once_however_that_is_learned() -> None:
    async def scenario() -> None:
        session = LayerSession(ChannelLayer(), InterfaceConfig())
        session._down.clear()
        inbound = begun(session, "a")
        session.retry_queues.retry()
        answer(session, SendResult.ACCEPTED)
        for _ in range(2):
            inbound.report("1", Outcome.DIED)
        assert session.losses.as_dict()["died"] == 1
        inbound.frame("second")
        answer(session, SendResult.ACCEPTED)
        for _ in range(2):
            inbound.due(session.clock() + 1000)  # no worker ever speaks of it
        inbound.report("2", Outcome.CONSUMED)
        inbound.report("2", Outcome.DIED)
        assert (session.losses.as_dict()["died"], session.losses.as_dict()["unheard"]) == (1, 1)

    asyncio.run(scenario())
