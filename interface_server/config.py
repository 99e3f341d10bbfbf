"""What can be set about an interface server: the one place where each option has its name, type, default and help.

The commands make their options from the fields; nothing here reads settings or the environment. Times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from channels_classic._options import option

REQUESTS, WEBSOCKETS, PROXY = "HTTP", "WebSocket", "Behind a web server"


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The options of an `InterfaceServer`, under whatever server it runs."""

    group: ClassVar[str] = WEBSOCKETS

    http_timeout: float = option(
        120.0,
        "Seconds until a request without a response is answered with 503, and one without its next part cut off.",
        "-t",
        group=REQUESTS,
    )
    stall_timeout: float = option(
        60.0, "Seconds for which a client may take nothing of its response before it is cut off.", group=REQUESTS
    )
    max_body: int = option(
        1024**3, "Bytes of a request's body; a larger one is refused with 413. 0: no limit.", group=REQUESTS
    )
    health_path: str = option(
        "",
        "A path that is answered here, with 200, or 503 while the layer is away; for load balancers.",
        group=REQUESTS,
    )
    websocket_connect_timeout: float = option(
        5.0, "Seconds a consumer has to accept a WebSocket; then it is refused with 403. -1: no limit."
    )
    websocket_timeout: float = option(-1.0, "Seconds after which an open WebSocket is closed. -1: no limit.")
    ping_interval: float = option(20.0, "Seconds between two keep-alive pings of a WebSocket.")
    ping_timeout: float = option(30.0, "Seconds a WebSocket client has to answer a ping.")
    ws_protocols: tuple[str, ...] = option(
        (), "A sub-protocol that may be agreed with WebSocket clients. May be given several times.", "--ws-protocol"
    )
    compression: bool = option(False, "Offer permessage-deflate: less traffic for more memory and work per socket.")
    waiting_frames: int = option(
        64, "Frames of one WebSocket that wait here while an earlier one is consumed; then it is not read any more."
    )
    waiting_bytes: int = option(1024 * 1024, "The same in bytes.")
    waiting_timeout: float = option(
        60.0, "Seconds for which a WebSocket is not read before it is closed with 1013 (try again later)."
    )
    root_path: str = option(
        "", "The path the site is mounted at, as SCRIPT_NAME in WSGI, percent-encoded.", group=PROXY
    )
    proxy_headers: bool = option(
        False,
        "Believe X-Forwarded-For, -Port and -Proto, and Daphne-Root-Path, of those in --forwarded-allow-ips.",
        group=PROXY,
    )
    forwarded_allow_ips: tuple[str, ...] = option(
        ("127.0.0.1", "::1", "unix"),
        "An address or network of web servers in front, `unix` for those on a Unix socket, or `*` for all. May be "
        "given several times. Default: this machine.",
        group=PROXY,
    )


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What our own server takes from clients; under another server, that one's options count."""

    group: ClassVar[str] = "Limits on clients"

    max_request_line: int = option(8190, "Bytes of a request's target; a longer one is refused with 414.")
    max_head: int = option(32 * 1024, "Bytes of a request's line and headers; more are refused with 431.")
    head_timeout: float = option(20.0, "Seconds a client has to send them.")
    body_rate: int = option(500, "Bytes of its body that a client must send per second, on average over 20 seconds.")
    keep_alive: float = option(5.0, "Seconds for which a connection stays open after a response.")
    max_message: int = option(
        4 * 1024 * 1024, "Bytes of a WebSocket message; a socket that sends a larger one is closed with 1009."
    )
    max_connections: int = option(
        0, "Connections from which on requests and handshakes get 503. 0: no limit but that of the system."
    )
