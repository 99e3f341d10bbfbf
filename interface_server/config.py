"""What can be set about an interface server: the one place where each option has its name, type, default and help.

The commands make their options from the fields; nothing here reads settings or the environment. Times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, text: str, *flags: str, kind: type[Any] | None = None) -> Any:
    """A field from which commands make an option; `kind` is its type where the default does not tell."""
    return field(default=default, metadata={"help": text, "flags": flags, "kind": kind or type(default)})


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The options of `runinterface`, of `channels-classic interface` and of an `InterfaceServer` in an `asgi.py`."""

    http_timeout: float = option(120.0, "Seconds until a request without a response is answered with 503.", "-t")
    websocket_connect_timeout: float = option(
        5.0, "Seconds a consumer has to accept a WebSocket; then it is refused with 403. -1: no limit."
    )
    websocket_timeout: float = option(-1.0, "Seconds after which an open WebSocket is closed. -1: no limit.")
    ping_interval: float = option(20.0, "Seconds between two keep-alive pings of a WebSocket.")
    ping_timeout: float = option(30.0, "Seconds a WebSocket client has to answer a ping.")
    ws_protocols: tuple[str, ...] = option(
        (), "A sub-protocol that may be agreed with WebSocket clients. May be given several times.", "--ws-protocol"
    )
    root_path: str = option("", "The path the site is mounted at, as SCRIPT_NAME in WSGI.")
    waiting_frames: int = option(
        64, "Frames of one WebSocket that wait here while an earlier one is consumed; then it is not read any more."
    )
    waiting_bytes: int = option(1024 * 1024, "The same in bytes.")
    waiting_timeout: float = option(
        60.0, "Seconds for which a WebSocket is not read before it is closed with 1013 (try again later)."
    )
