"""Access of the tests to a layer: its two faces behind one set of methods, opened and closed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.flows import Received

if TYPE_CHECKING:
    from unittest import TestCase
else:
    TestCase = object

TIMEOUT = 5.0
"""Seconds after which a message that should arrive counts as missing."""

EXPIRY = 0.3
"""Seconds of the short expiries in these tests."""

MARGIN = 0.15
"""Seconds after an expiry until something must be gone."""


class Face:
    """The methods of a layer as a consumer calls them."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.layer = layer

    def send(self, channel: str, message: dict[str, Any]) -> None:
        self.layer.send(channel, message)

    def look(self, *channels: str) -> Received:
        """Return the next message, without waiting."""
        return self.layer.receive(list(channels))

    def receive(self, *channels: str) -> tuple[str, dict[str, Any]]:
        """Return the next message, waiting for it: a blocking receive may return nothing, and callers must loop."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            channel, message = self._block(list(channels))
            if channel is not None and message is not None:
                return channel, message
        raise AssertionError(f"nothing came on {channels} within {TIMEOUT} s")

    def _block(self, channels: list[str]) -> Received:
        return self.layer.receive(channels, True)

    def new_channel(self, pattern: str) -> str:
        return self.layer.new_channel(pattern)

    def group_add(self, group: str, channel: str, **options: Any) -> None:
        self.layer.group_add(group, channel, **options)

    def group_discard(self, group: str, channel: str) -> None:
        self.layer.group_discard(group, channel)

    def group_channels(self, group: str) -> Iterable[str]:
        return self.layer.group_channels(group)

    def group_count(self, group: str) -> int:
        return self.layer.group_count(group)

    def group_presence(self, group: str) -> dict[str, list[dict[str, Any]]]:
        return self.layer.group_presence(group)

    def send_group(self, group: str, message: dict[str, Any], **options: Any) -> None:
        self.layer.send_group(group, message, **options)

    def flush(self) -> None:
        self.layer.flush()

    def close(self) -> None:
        """Release the resources of this face."""


class AsyncFace(Face):
    """The asyncio methods, on an event loop of their own; methods without an asyncio version are called directly."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        super().__init__(layer)
        self.loop = asyncio.new_event_loop()

    def send(self, channel: str, message: dict[str, Any]) -> None:
        self.loop.run_until_complete(self.layer.send_async(channel, message))

    def _block(self, channels: list[str]) -> Received:
        return self.loop.run_until_complete(self.layer.receive_async(channels))

    def group_add(self, group: str, channel: str, **options: Any) -> None:
        self.loop.run_until_complete(self.layer.group_add_async(group, channel, **options))

    def group_discard(self, group: str, channel: str) -> None:
        self.loop.run_until_complete(self.layer.group_discard_async(group, channel))

    def group_channels(self, group: str) -> Iterable[str]:
        return self.loop.run_until_complete(self.layer.group_channels_async(group))

    def group_count(self, group: str) -> int:
        return self.loop.run_until_complete(self.layer.group_count_async(group))

    def group_presence(self, group: str) -> dict[str, list[dict[str, Any]]]:
        return self.loop.run_until_complete(self.layer.group_presence_async(group))

    def send_group(self, group: str, message: dict[str, Any], **options: Any) -> None:
        self.loop.run_until_complete(self.layer.send_group_async(group, message, **options))

    def close(self) -> None:
        self.loop.run_until_complete(self.layer.close_async())
        self.loop.close()


class Conformance(TestCase):
    """Access to layers, and assertions that many tests share."""

    face_class: type[Face] = Face
    config: dict[str, Any] = {"expiry": 60, "group_expiry": 86400, "capacity": 5}  # noqa: RUF012 a default, as in unittest
    """The arguments of layers, unless a test gives others."""

    spread = 1
    """The number of places over which the layer spreads a plain channel; each holds the capacity.

    With more than one its messages keep their order only roughly.
    """

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        """Return a layer that is empty, or that `flush` empties; `config` holds arguments of `BaseChannelLayer`."""
        raise NotImplementedError(f"{type(self).__name__} must define make_layer(**config).")

    def make_peer(self, layer: BaseChannelLayer, **config: Any) -> BaseChannelLayer:
        """Return the same layer as another process would make it, or `layer` if no other process can reach it."""
        return self.make_layer(**config)

    def open(self, **config: Any) -> Face:
        """Return an empty layer."""
        layer = self.make_layer(**{**self.config, **config})
        if "async" not in layer.extensions and self.face_class is AsyncFace:
            self.skipTest("the layer has no asyncio face")
        self.addCleanup(layer.close)
        if "flush" in layer.extensions:
            layer.flush()
        return self._face(layer)

    def open_pair(self, **config: Any) -> tuple[Face, Face]:
        """Return an empty layer twice, as two processes would make it."""
        face = self.open(**config)
        peer = self.make_peer(face.layer, **{**self.config, **config})
        if peer is not face.layer:
            self.addCleanup(peer.close)
        return face, self._face(peer)

    def need(self, face: Face, extension: str) -> None:
        if extension not in face.layer.extensions:
            self.skipTest(f"the layer has no extension {extension!r}")

    def _face(self, layer: BaseChannelLayer) -> Face:
        face = self.face_class(layer)
        self.addCleanup(face.close)
        return face

    def assert_nothing(self, face: Face, *channels: str) -> None:
        self.assertEqual(face.look(*channels), (None, None))

    def assert_holds(self, face: Face, channel: str, capacity: int) -> None:
        """Check that exactly `capacity` messages fit, in each place."""
        if "!" not in channel and "?" not in channel:
            capacity *= self.spread
        for number in range(capacity):
            face.send(channel, {"number": number})
        with self.assertRaises(face.layer.ChannelFull):
            face.send(channel, {"number": capacity})

    def in_threads(self, layer: BaseChannelLayer, acts: Sequence[Callable[[Face], None]]) -> None:
        """Run `acts` at once, each in a thread and with a face of its own, until all are done."""
        start = threading.Barrier(len(acts))

        def run(act: Callable[[Face], None]) -> None:
            face = self.face_class(layer)
            try:
                start.wait(TIMEOUT)
                act(face)
            finally:
                face.close()

        with ThreadPoolExecutor(len(acts)) as pool:
            list(pool.map(run, acts))
