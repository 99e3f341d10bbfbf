"""The contract of channel layers as tests: for the layers of this package and of others.

Mix a class into `unittest.TestCase`, define how a layer is made, and run it with pytest or unittest:

    class MyLayerTest(LayerConformance, unittest.TestCase):
        def make_layer(self, **config):
            return MyLayer(**config)

`AsyncLayerConformance` does the same through the asyncio methods. Only public methods of a layer are used.
"""

from __future__ import annotations

import asyncio

from channels_classic.layers.flows import Received
from channels_classic.test.conformance.case import TIMEOUT, AsyncFace
from channels_classic.test.conformance.channels import ChannelConformance
from channels_classic.test.conformance.groups import GroupConformance
from channels_classic.test.conformance.presence import PresenceConformance

__all__ = ["AsyncLayerConformance", "LayerConformance"]


class LayerConformance(ChannelConformance, GroupConformance, PresenceConformance):
    """Every behaviour, through the synchronous methods."""


class AsyncLayerConformance(LayerConformance):
    """Every behaviour, through the asyncio methods."""

    face_class = AsyncFace

    def test_many_coroutines_of_one_loop_wait_side_by_side(self) -> None:
        face = self.open(capacity=100)

        async def scenario() -> list[Received]:
            readers = [asyncio.ensure_future(face.layer.receive_async(["side", f"side?{n}"])) for n in range(10)]
            for number in range(10):
                await face.layer.send_async("side", {"number": number})
            received = await asyncio.wait_for(asyncio.gather(*readers), TIMEOUT)
            await face.layer.close_async()
            return received

        received = asyncio.run(scenario())
        self.assertEqual(sorted(message["number"] for _, message in received if message), list(range(10)))
