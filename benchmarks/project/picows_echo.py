"""An echo on picows, a WebSocket server in Cython: `python -m benchmarks.project.picows_echo PORT`."""

from __future__ import annotations

import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):  # type: ignore[misc]  # the package has no types
    """One socket."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


def listener(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def main() -> None:
    server = await ws_create_server(listener, "127.0.0.1", int(sys.argv[1]), websocket_handshake_timeout=5)
    print("picows serves", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
