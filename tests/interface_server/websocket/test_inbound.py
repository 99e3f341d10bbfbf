"""The messages of one WebSocket on their way to a channel that is full; the test answers in the layer's place."""

from __future__ import annotations

import asyncio

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.session import Hub
from channels_classic.interface_server.layer.timers import Due
from channels_classic.interface_server.layer.writer import Fate
from channels_classic.interface_server.websocket.inbound import Inflow
from channels_classic.layers.codec import Outcome
from channels_classic.layers.inmemory import ChannelLayer


class Client(Due):
    """What the wheel asks; it has nothing to do."""

    slot = None

    def due(self, now: float) -> float:
        return float("inf")


def begun(hub: Hub, name: str) -> Inflow:
    """A WebSocket whose handshake is over, and whose first frame was refused because the channel is full."""
    inflow = Inflow(hub, Client(), "/", lambda: None, lambda: None)
    inflow.connect({"reply_channel": hub.inbox + name})
    answer(hub, Fate.ACCEPTED)
    inflow.report("0", Outcome.CONSUMED)
    inflow.frame(f"first of {name}")
    if hub._writer._sends:
        answer(hub, Fate.FULL)
    return inflow


def answer(hub: Hub, fate: Fate) -> str:
    """Tell the oldest message that was sent its fate, and give its text."""
    send, settled = hub._writer._sends.pop(0)
    assert settled is not None
    settled(send, fate)
    return str(send.message.get("text"))


def test_a_handshake_counts_as_sent_once_the_layer_has_taken_it() -> None:
    async def scenario() -> None:
        hub = Hub(ChannelLayer(), InterfaceConfig())
        hub._away.clear()
        inflow = Inflow(hub, Client(), "/", lambda: None, lambda: None)
        inflow.connect({"reply_channel": hub.inbox + "a"})
        assert not inflow.is_sent, "under way for the first time"
        answer(hub, Fate.FULL)
        assert not inflow.is_sent
        hub.backlog.retry()
        assert not inflow.is_sent, "being tried again"
        answer(hub, Fate.ACCEPTED)
        assert inflow.is_sent

    asyncio.run(scenario())


def test_a_frame_that_waits_keeps_its_place_when_the_report_on_the_one_before_overtakes_the_layers_answer() -> None:
    async def scenario() -> None:
        hub = Hub(ChannelLayer(), InterfaceConfig())
        hub._away.clear()  # the layer is there, though nothing is started
        _, second, _ = [begun(hub, name) for name in ("a", "b", "c")]
        hub.backlog.retry()
        assert answer(hub, Fate.ACCEPTED) == "first of a"
        assert [send.message["text"] for send, _ in hub._writer._sends] == ["first of b", "first of c"]
        second.frame("second of b")
        second.report("1", Outcome.CONSUMED)  # comes by another connection than the answer
        answer(hub, Fate.ACCEPTED)
        answer(hub, Fate.ACCEPTED)
        hub.backlog.retry()
        assert [send.message["text"] for send, _ in hub._writer._sends] == ["second of b"]

    asyncio.run(scenario())


def test_a_frame_that_a_worker_took_to_its_grave_is_counted_once_however_that_is_learned() -> None:
    async def scenario() -> None:
        hub = Hub(ChannelLayer(), InterfaceConfig())
        hub._away.clear()
        inflow = begun(hub, "a")
        hub.backlog.retry()
        answer(hub, Fate.ACCEPTED)
        for _ in range(2):
            inflow.report("1", Outcome.DIED)
        assert hub.losses.as_dict()["died"] == 1
        inflow.frame("second")
        answer(hub, Fate.ACCEPTED)
        for _ in range(2):
            inflow.due(hub.clock() + 1000)  # no worker ever speaks of it
        inflow.report("2", Outcome.CONSUMED)
        inflow.report("2", Outcome.DIED)
        assert (hub.losses.as_dict()["died"], hub.losses.as_dict()["unheard"]) == (1, 1)

    asyncio.run(scenario())
