"""The access log: a line for each response and for each stage of a WebSocket, in Daphne 1.x's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import IO, Any

_WORDS = {
    "connecting": "WSCONNECTING",
    "connected": "WSCONNECT",
    "rejected": "WSREJECT",
    "disconnected": "WSDISCONNECT",
}

_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')
"""Characters that could end a line or a field, or control a terminal that shows the log."""


UNIX = "unix"
"""Stands for a client that connects through a Unix socket and so has no address."""


class AccessLog:
    """An action logger that writes `HOST - - [DATE] "REQUEST" STATUS SIZE` to a stream. The date has a UTC offset."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, protocol: str, action: str, details: Mapping[str, Any]) -> None:
        """Write the line for an action."""
        if protocol == "http":
            request = f"{details['method']} {details['path']}"
        else:
            request = f"{_WORDS[action]} {details['path']}"
        client = _UNSAFE.sub(_escaped, details["client"] or UNIX)
        date = datetime.now().astimezone().strftime("%d/%b/%Y:%H:%M:%S %z")
        self._stream.write(
            f'{client} - - [{date}] "{_UNSAFE.sub(_escaped, request)}" '
            f"{details.get('status') or '-'} {details.get('size') or '-'}\n"
        )


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode() if found.group() not in '"\\' else "\\" + found.group()
