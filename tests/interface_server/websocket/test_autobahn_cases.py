"""Cases of the Autobahn test suite that need more than the WebSocket library, against an echo consumer on real sockets.

The suite itself runs on another Python and is not installable here; these are the frames of the cases named.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.interface_server.live import Live, live
from tests.interface_server.server.test_limits import frame, open_socket, read_all

TEXT, BINARY, CONTINUATION, FIN = 0x01, 0x02, 0x00, 0x80


@contextmanager
def echoing(server: Live, client: socket.socket) -> Iterator[None]:
    """An open socket, and a worker that sends each message back until the socket is closed."""
    open_socket(server, client)

    def work() -> None:
        while True:
            channel, message = server.layer.receive(["websocket.receive", "websocket.disconnect"], block=True)
            assert message is not None
            if channel == "websocket.disconnect":
                return
            server.layer.send(
                message["reply_channel"], {key: message[key] for key in ("text", "bytes") if key in message}
            )

    worker = threading.Thread(target=work)
    worker.start()
    yield
    client.close()
    worker.join()


def exactly(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size and (part := client.recv(size - len(received))):
        received += part
    return received


@pytest.mark.parametrize(
    ("sent", "echo"),
    [
        (frame(FIN | TEXT, b""), b"\x81\x00"),  # 1.1.1, 6.1.1
        (frame(FIN | BINARY, b""), b"\x82\x00"),  # 1.2.1
        (frame(TEXT, b"") + frame(CONTINUATION, b"") + frame(FIN | CONTINUATION, b""), b"\x81\x00"),  # 6.1.2
        (frame(TEXT, b"") + frame(CONTINUATION, b"a") + frame(FIN | CONTINUATION, b""), b"\x81\x01a"),  # 6.1.3
    ],
)
@pytest.mark.parametrize("compression", [False, True])
def test_an_empty_message_is_echoed(sent: bytes, echo: bytes, compression: bool) -> None:
    with live(compression=compression) as server, server.raw() as client, echoing(server, client):
        client.sendall(sent)
        assert exactly(client, len(echo)) == echo


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_thousand_empty_messages_are_echoed(server: Live, opcode: int) -> None:  # 9.7.1, 9.8.1
    with server.raw() as client, echoing(server, client):
        client.sendall(frame(FIN | opcode, b"") * 1000)
        assert exactly(client, 2000) == bytes([FIN | opcode, 0]) * 1000


def test_a_close_inside_of_a_fragmented_message_is_answered_with_its_code(server: Live) -> None:  # 7.1.5
    with server.raw() as client:
        open_socket(server, client)
        client.sendall(frame(TEXT, b"a") + frame(0x88, b"\x03\xe8") + frame(FIN | CONTINUATION, b"b"))
        assert read_all(client) == b"\x88\x02\x03\xe8"
    assert server.consume("websocket.disconnect")["code"] == 1000
    assert server.has_none("websocket.receive")
