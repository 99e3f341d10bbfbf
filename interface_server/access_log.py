"""The access log: a line for each response and for each stage of a WebSocket, in one of several formats.

`daphne` is Daphne 1.x's. `common` and `combined` are those that log analyzers know, and end with two fields of ours:
the seconds that it took and the name of the request or socket, which log records of consumers have too. `json` has all
of that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
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

Details = Mapping[str, Any]


class AccessLog:
    """An action logger that writes a line for each action to a stream, in a format of `FORMATS`.

    Dates have a UTC offset.
    """

    def __init__(self, stream: IO[str], style: str = "daphne") -> None:
        self._stream = stream
        self._format = FORMATS[style]

    def __call__(self, protocol: str, action: str, details: Details) -> None:
        """Write the line for an action."""
        self._stream.write(f"{self._format(details.get('method') or _WORDS[action], details)}\n")


def _daphne(method: str, details: Details) -> str:
    client, request = _quoted(details["client"] or UNIX), _quoted(f"{method} {details['path']}")
    return f'{client} - - [{_date()}] "{request}" {details.get("status") or "-"} {details.get("size") or "-"}'


def _common(method: str, details: Details) -> str:
    return f"{_common_fields(method, details)} {_trailer(details)}"


def _combined(method: str, details: Details) -> str:
    referer, agent = (_quoted(details[name] or "-") for name in ("referer", "user_agent"))
    return f'{_common_fields(method, details)} "{referer}" "{agent}" {_trailer(details)}'


def _common_fields(method: str, details: Details) -> str:
    host = (details["client"] or UNIX).rpartition(":")[0].strip("[]") or UNIX
    request = _quoted(f"{method} {details['path']} HTTP/{details['http_version']}")
    return f'{_quoted(host)} - - [{_date()}] "{request}" {details.get("status") or "-"} {details.get("size") or "-"}'


def _trailer(details: Details) -> str:
    seconds = details.get("time_taken")
    return f"{'-' if seconds is None else f'{seconds:.3f}'} {details['id']}"


def _json(method: str, details: Details) -> str:
    seconds = details.get("time_taken")
    fields = {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "client": details["client"] or UNIX,
        "method": method,
        "path": details["path"],
        "protocol": f"HTTP/{details['http_version']}",
        "status": details.get("status"),
        "size": details.get("size"),
        "seconds": None if seconds is None else round(seconds, 6),
        "request_id": details["id"],
        "referer": details["referer"],
        "user_agent": details["user_agent"],
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


FORMATS: Mapping[str, Callable[[str, Details], str]] = {
    "daphne": _daphne,
    "common": _common,
    "combined": _combined,
    "json": _json,
}


def _date() -> str:
    return datetime.now().astimezone().strftime("%d/%b/%Y:%H:%M:%S %z")


def _quoted(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode() if found.group() not in '"\\' else "\\" + found.group()
