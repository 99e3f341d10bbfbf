"""Messages on their way to the layer: a real memory layer, with connections that break on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.interface_server.layer.reconnecting import ReconnectingConnection
from channels_classic.interface_server.layer.writer import SendResult, Writer
from channels_classic.layers.codec import SIZE_LIMIT
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import AsyncConnection, Entry, Heartbeat, Length, Push, Step


class Layer(ChannelLayer):
    """A memory layer whose connections can be told to fail, and note what they carried."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.runs: list[Sequence[Step]] = []
        self.error: LayerUnavailable | None = None
        self.refusal: StepRefused | None = None
        self.connections = 0

    async def connect_async(self) -> AsyncConnection:
        self.connections += 1
        return Connection(self, await super().connect_async())


class Connection:
    """A connection to such a layer."""

    def __init__(self, layer: Layer, connection: AsyncConnection) -> None:
        self._layer = layer
        self._connection = connection

    def usable(self) -> bool:
        return self._connection.usable()

    async def unblock(self) -> None:
        await self._connection.unblock()

    async def close(self) -> None:
        await self._connection.close()

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        self._layer.runs.append(steps)
        await asyncio.sleep(0)
        if self._layer.error is not None:
            error, self._layer.error = self._layer.error, None
            raise error
        if self._layer.refusal is not None:
            return [self._layer.refusal for _ in steps]
        return await self._connection.run(steps)


def run(test: Callable[[Layer, Writer, list[SendResult]], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        layer = Layer(**options)
        writer = Writer(ReconnectingConnection(layer, lambda *_: None, lambda _: None), layer.planner)
        task = asyncio.create_task(writer.run())
        await test(layer, writer, [])
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def away(*, written: bool) -> LayerUnavailable:
    error = LayerUnavailable("somewhere", "it broke", "Mend it.")
    error.written = written
    return error


def noting(fates: list[SendResult]) -> Callable[[Outgoing, SendResult], None]:
    return lambda _, result: fates.append(result)


def test_what_one_turn_of_the_loop_sends_crosses_at_once() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        for number in range(10):
            writer.send(Outgoing("c", {"number": number}), noting(fates))
        writer.post(Heartbeat("interface.v1.x!"))
        await writer.drained()
        assert fates == [SendResult.ACCEPTED] * 10
        assert len(layer.runs) == 1
        assert [layer.receive(["c"])[1] for _ in range(10)] == [{"number": number} for number in range(10)]

    run(test)


def test_each_message_has_its_own_fate() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        for channel in ("c", "c", "c", "d", "c"):
            writer.send(Outgoing(channel, {}), noting(fates))
        await writer.drained()
        assert fates == [
            SendResult.ACCEPTED,
            SendResult.ACCEPTED,
            SendResult.FULL,
            SendResult.ACCEPTED,
            SendResult.FULL,
        ]

    run(test, capacity=2)


@pytest.mark.parametrize(("written", "result"), [(True, SendResult.LOST), (False, SendResult.UNAVAILABLE)])
def test_a_lost_layer_says_whether_a_message_may_have_been_written(written: bool, result: SendResult) -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        layer.error = away(written=written)
        writer.send(Outgoing("c", {}), noting(fates))
        await writer.drained()
        assert fates == [result]
        assert layer.receive(["c"]) == (None, None)

    run(test)


def test_what_gathered_while_the_layer_was_lost_was_certainly_not_written() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        layer.error = away(written=True)
        writer.send(Outgoing("c", {}), noting(fates))
        while not layer.runs:
            await asyncio.sleep(0)
        writer.send(Outgoing("c", {}), noting(fates))
        await writer.drained()
        assert fates == [SendResult.LOST, SendResult.UNAVAILABLE]

    run(test)


def test_after_a_loss_it_goes_on_with_another_connection() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        layer.error = away(written=True)
        writer.send(Outgoing("c", {}), noting(fates))
        await writer.drained()
        writer.send(Outgoing("c", {}), noting(fates))
        await writer.drained()
        assert fates == [SendResult.LOST, SendResult.ACCEPTED]
        assert layer.connections == 2

    run(test)


def test_a_refused_push_was_not_written() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        layer.refusal = StepRefused("somewhere", "out of memory")
        writer.send(Outgoing("c", {}), noting(fates))
        await writer.drained()
        assert fates == [SendResult.REFUSED]

    run(test)


def test_a_message_that_no_layer_carries_spares_the_others() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        writer.send(Outgoing("c", {"a": 1}), noting(fates))
        writer.send(Outgoing("c", {"a": b"x" * SIZE_LIMIT}), noting(fates))
        writer.send(Outgoing("no channel!!", {}), noting(fates))
        writer.send(Outgoing("c", {"a": 2}), noting(fates))
        await writer.drained()
        assert sorted(result.name for result in fates) == ["ACCEPTED", "ACCEPTED", "INVALID", "INVALID"]
        assert layer.receive(["c"])[1] == {"a": 1}
        assert layer.receive(["c"])[1] == {"a": 2}

    run(test)


def test_a_step_whose_asker_has_given_up_is_not_carried_out() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        given_up = asyncio.create_task(writer.ask(Push("c", [Entry(b"x", 60)])))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await writer.ask(Length("c")) == 0

    run(test)


def test_a_question_is_answered_or_fails() -> None:
    async def test(layer: Layer, writer: Writer, fates: list[SendResult]) -> None:
        assert await writer.ask(Length("c")) == 0
        layer.error = away(written=True)
        with pytest.raises(LayerUnavailable):
            await writer.ask(Length("c"))
        layer.refusal = StepRefused("somewhere", "out of memory")
        with pytest.raises(StepRefused):
            await writer.ask(Length("c"))

    run(test)
