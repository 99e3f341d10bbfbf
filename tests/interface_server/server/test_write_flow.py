"""Waiting for a client that does not take what is sent."""

from __future__ import annotations

import asyncio

from channels_classic.interface_server.server.write_flow import WRITE_BUFFER, WriteFlow


class Transport:
    """The part of a transport that flow control uses."""

    def __init__(self) -> None:
        self.size = 0
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.size


def test_writers_wait_from_pause_to_resume() -> None:
    async def write() -> int:
        flow = WriteFlow(Transport())
        await flow.drain()
        flow.pause_writing()
        flow.pause_writing()
        writers = [asyncio.create_task(flow.drain()) for _ in range(2)]
        await asyncio.sleep(0)
        too_early = sum(writer.done() for writer in writers)
        flow.resume_writing()
        flow.resume_writing()
        await asyncio.gather(*writers)
        return too_early

    assert asyncio.run(write()) == 0


def test_there_is_room_until_the_buffer_is_full_or_the_connection_ends() -> None:
    transport = Transport()
    flow = WriteFlow(transport)
    transport.size = WRITE_BUFFER
    assert flow.can_write
    transport.size += 1
    assert not flow.can_write
    transport.size, transport.closing = 0, True
    assert not flow.can_write
