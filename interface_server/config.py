"""The options of an interface server: the one place where each has its name, type, default and help.

The commands make their options from the fields; nothing here reads settings or the environment. Times are in seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from channels_classic._options import check_values, option

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header or of a sub-protocol (RFC 9110, section 5.6.2)."""

_PATH = re.compile(r"/(?!/)[^\x00-\x20\x7f?#\\]*")

LOCAL_PROXIES = ("127.0.0.1", "::1", "unix")

REQUESTS, WEBSOCKETS, PROXY = "HTTP", "WebSocket", "Behind a web server"


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The options of an `InterfaceServer`, under whatever server it runs."""

    group: ClassVar[str] = WEBSOCKETS

    http_timeout: float = option(
        120.0,
        "Seconds to wait for a response before answering 503, and for each further part before cutting it off.",
        "-t",
        group=REQUESTS,
        above=0,
    )
    stall_timeout: float = option(
        60.0, "Seconds without progress after which a client that does not read is cut off.", group=REQUESTS, above=0
    )
    max_body: int = option(
        1024**3, "Maximum bytes of a request body; larger ones get 413. 0: unlimited.", group=REQUESTS, least=0
    )
    body_timeout: float = option(
        3600.0, "Maximum seconds to receive a request body, else 408. 0: unlimited.", group=REQUESTS, least=0
    )
    max_response: int = option(
        4 * 1024**3,
        "Maximum bytes of a response that wait for a slow client before it is cut off. 0: unlimited.",
        group=REQUESTS,
        least=0,
    )
    spool_memory: int = option(
        64 * 1024**2,
        "Maximum bytes of request bodies in the memory of a process, and as many of responses; more go to temporary "
        "files.",
        group=REQUESTS,
        least=0,
    )
    spool_disk: int = option(
        8 * 1024**3,
        "Maximum bytes of temporary files for request bodies, and as many for responses; beyond it bodies get 503, and "
        "the slowest readers are cut off.",
        group=REQUESTS,
        least=0,
    )
    health_path: str = option(
        "",
        "A path for load balancers, answered with 200, or with 503 while the channel layer is down.",
        group=REQUESTS,
    )
    ready_worker: float = option(
        0.0,
        "Seconds within which a worker must have announced itself, every 5 seconds, for the server to be ready. "
        "0: not asked.",
        group=REQUESTS,
        least=0,
    )
    websocket_connect_timeout: float = option(
        5.0, "Seconds a consumer has to accept a WebSocket before it is refused with 403. -1: unlimited.", least=-1
    )
    websocket_timeout: float = option(-1.0, "Seconds after which an open WebSocket is closed. -1: never.", least=-1)
    ping_interval: float = option(20.0, "Seconds between keep-alive pings on a WebSocket. 0: none.", least=0)
    ping_timeout: float = option(30.0, "Seconds a WebSocket client has to answer a ping.", above=0)
    ws_protocols: tuple[str, ...] = option(
        (), "A WebSocket sub-protocol to accept. May be given several times.", "--ws-protocol"
    )
    event_streams: tuple[str, ...] = option(
        (),
        "A path, or a pattern such as /chat/*, on which clients may read server-sent events in place of a WebSocket; * "
        "for all. May be given several times.",
    )
    compression: bool = option(False, "Offer permessage-deflate: less traffic, more memory and processor per socket.")
    waiting_frames: int = option(64, "Queued frames per WebSocket before reading pauses.", least=1)
    waiting_bytes: int = option(1024 * 1024, "Bytes of queued frames per WebSocket before reading pauses.", least=1)
    waiting_timeout: float = option(
        60.0, "Seconds of paused reading after which a WebSocket is closed with 1013 (try again later).", above=0
    )
    frame_rate: int = option(
        0,
        "Maximum frames per second of a WebSocket client; beyond it the socket is read more slowly, and closed with "
        "1008 if that goes on for 10 seconds. 0: unlimited.",
        least=0,
    )
    byte_rate: int = option(0, "Maximum bytes per second of a WebSocket client, likewise. 0: unlimited.", least=0)
    sockets_per_address: int = option(
        0,
        "Maximum WebSockets of one client address, or IPv6 network of 64 bits, in a process; further handshakes get "
        "429. 0: unlimited.",
        least=0,
    )
    socket_memory: int = option(
        1024**3,
        "Maximum bytes queued for and from all WebSockets of a process; beyond it those that use most are closed. "
        "0: unlimited.",
        least=0,
    )
    root_path: str = option(
        "", "The path the site is mounted at, percent-encoded, as SCRIPT_NAME in WSGI.", group=PROXY
    )
    proxy_headers: bool = option(
        False,
        "Trust X-Forwarded-For and X-Forwarded-Proto from the proxies in --forwarded-allow-ips.",
        group=PROXY,
    )
    root_path_header: str = option(
        "",
        "A header in which those proxies name the path the site is mounted at, such as Daphne-Root-Path; they must "
        "set or remove it in every request.",
        group=PROXY,
    )
    forwarded_allow_ips: tuple[str, ...] = option(
        LOCAL_PROXIES,
        "An address or network of trusted proxies, `unix` for those on a Unix socket, or `*` for all. May be given "
        "several times.",
        group=PROXY,
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.root_path and not _PATH.fullmatch(self.root_path):
            raise ValueError(
                f"--root-path, or FORCE_SCRIPT_NAME, is {self.root_path!r}: expected a path that begins with one slash."
            )
        headers = [self.root_path_header] if self.root_path_header else []
        for name, values in (("root-path-header", headers), ("ws-protocol", self.ws_protocols)):
            if wrong := [value for value in values if not _TOKEN.fullmatch(value)]:
                raise ValueError(f"--{name} is {wrong[0]!r}: expected ASCII letters, digits and '-', '_' or '.'.")
        if self.health_path and (not self.health_path.startswith("/") or {"?", "#"} & set(self.health_path)):
            raise ValueError(f"--health-path is {self.health_path!r}: expected a path, which begins with /.")
        reads_headers = self.proxy_headers or self.root_path_header
        if not reads_headers and self.forwarded_allow_ips != LOCAL_PROXIES:
            raise ValueError(
                "--forwarded-allow-ips is given without --proxy-headers or --root-path-header: no header of these "
                "proxies would be read."
            )
        for pattern in self.event_streams:
            if not pattern.startswith(("/", "*")):
                raise ValueError(
                    f"--event-streams is {pattern!r}: expected a path, which begins with /, a pattern such as "
                    "'/chat/*', or '*' for all paths."
                )


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of the server that `runinterface` runs; under another ASGI server, that server's options apply."""

    group: ClassVar[str] = "Limits on clients"

    max_request_line: int = option(8190, "Maximum bytes of a request target; longer ones get 414.", least=1)
    max_head: int = option(32 * 1024, "Maximum bytes of a request line and its headers; more get 431.", least=1)
    head_timeout: float = option(20.0, "Seconds a client has to send the request line and the headers.", above=0)
    body_rate: int = option(
        500, "Minimum bytes per second of a request body, averaged over 20 seconds; else 408.", least=0
    )
    keep_alive: float = option(5.0, "Seconds to keep an idle connection open after a response.", least=0)
    max_message: int = option(
        4 * 1024 * 1024, "Maximum bytes of a WebSocket message; a larger one closes the socket with 1009.", least=1
    )
    max_connections: int = option(
        0, "Maximum open connections; beyond it requests and handshakes get 503. 0: unlimited.", least=0
    )
    connect_rate: float = option(
        0.0,
        "Maximum WebSocket handshakes per second and process; more wait up to 2 seconds, then get 503. 0: unlimited.",
        least=0,
    )

    def __post_init__(self) -> None:
        check_values(self)
