"""The inbox of an interface server: what is done with the entries of one read."""

from __future__ import annotations

import asyncio

from channels_classic.exceptions import LayerUnavailable
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.codec import encode_group, pack_message, seal
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.results import Item, Taken
from channels_classic.layers.steps import AsyncConnection
from tests.support.client import FakeClient
from tests.support.waiting import scaled


class LostLayer(ChannelLayer):
    """A layer that nobody reaches."""

    attempts = 0

    async def connect_async(self) -> AsyncConnection:
        self.attempts += 1
        raise LayerUnavailable("somewhere", "it is down", "Start it.")


def test_messages_for_groups_whose_members_cannot_be_asked_for_hold_up_nothing_behind_them() -> None:
    async def main() -> None:
        layer = LostLayer()
        session = LayerSession(layer, InterfaceConfig())
        client = FakeClient("a")
        channel = session.add(client)
        session.registry.groups.joined("g", client, 0, 5)
        group = seal(encode_group("g", pack_message("g", {"text": "for all"})), 6)
        (push,) = layer.planner.pushes([Outgoing(channel, {"text": "for one"})], {})
        payloads = [group, group, group, push.entries[0].payload]
        taken = Taken(session.inbox, [Item(payload, (0.0, "")) for payload in payloads], [])
        await asyncio.wait_for(session._reader._dispatch(taken), scaled(3))
        assert client.got == [{"text": "for one"}]
        assert layer.losses.as_dict() == {"broker": 3}
        assert layer.attempts == 1, "one attempt may take some seconds"

    asyncio.run(main())
