"""Frames as the client library reads them."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from channels_classic.interface_server.frames import encode_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize(("unit", "opcode"), [("é", Opcode.TEXT), (b"\xff", Opcode.BINARY)])
def test_a_client_reads_what_was_encoded(size: int, unit: str | bytes, opcode: Opcode) -> None:
    payload = unit * size
    client = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN)
    client.receive_data(encode_frame(payload))
    (frame,) = client.events_received()
    data = payload.encode() if isinstance(payload, str) else payload
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.data, frame.fin) == (opcode, data, True)
