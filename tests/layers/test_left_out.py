"""A member that is left out of a group message: by consumers, and by the interface server that owns it."""

from __future__ import annotations

import asyncio
import json

import pytest
from django.db import transaction

from channels_classic import Group
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.message import Message
from tests.support.running_site import RunningSite
from tests.worker.harness import drain, make_worker, running


@pytest.mark.django_db(transaction=True)
def test_a_consumer_leaves_its_own_client_out(layer: BaseChannelLayer) -> None:
    def consumer(message: Message) -> None:
        group = Group("room", channel_layer=message.channel_layer)
        group.send({"n": 1}, but=message.reply_channel)
        with transaction.atomic():
            group.send({"n": 2}, but=message.reply_channel, on_commit=True)
        group.send({"n": 3})

    for name in ("one", "seen"):
        layer.group_add("room", name)
    layer.send("test", {"reply_channel": "seen"})
    with running(make_worker(layer, {"test": consumer})):
        assert [message["n"] for message in drain(layer, "one", 3)] == [1, 2, 3]
        assert [message["n"] for message in drain(layer, "seen", 1)] == [3]
    assert layer.receive(["seen"]) == (None, None)


@pytest.mark.parametrize("redis", [False, True])
def test_an_interface_server_leaves_one_socket_out(request: pytest.FixtureRequest, redis: bool) -> None:
    """Frames to `/others/` go to the other sockets of the room, which are counted."""

    async def main(site: RunningSite) -> None:
        async with site.sockets(5, "/room/others") as sockets:
            await sockets[2].send("hello")
            others = [socket for socket in sockets if socket is not sockets[2]]
            for socket in others:
                assert json.loads(await asyncio.wait_for(socket.recv(), 10)) == {"said": "hello", "count": 5}
            await sockets[0].send("again")  # the first message that this socket gets is the second one
            assert json.loads(await asyncio.wait_for(sockets[2].recv(), 10)) == {"said": "again", "count": 5}

    with RunningSite(request.getfixturevalue("redis_url") if redis else None) as site:
        asyncio.run(main(site))
