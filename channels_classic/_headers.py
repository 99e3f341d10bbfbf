"""Headers of a message, as interface servers send them and as test clients of Channels 1.x do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from channels_classic.message import Message


def headers_named(message: Message, name: bytes) -> Iterator[Sequence[bytes]]:
    """Yield the headers called `name`, which is in lower case: each a name and its value, or a name alone.

    `headers` is a list of pairs of bytes, or the dict that test clients of Channels 1.x send.
    """
    headers = message.get("headers") or []
    if isinstance(headers, dict):
        headers = pairs(headers)
    return (header for header in headers if header and header[0].lower() == name)


def pairs(headers: dict[Any, Any]) -> list[tuple[bytes, bytes]]:
    """Return a dict of headers, whose names and values may be text, as a message of an interface server has it."""
    return [(_as_bytes(name), _as_bytes(value)) for name, value in headers.items()]


def _as_bytes(value: Any) -> Any:
    return value.encode("latin-1") if isinstance(value, str) else value


def header_values(message: Message, name: bytes) -> list[bytes]:
    """Return the values of all headers called `name`; that of a name alone is `b""`."""
    return [header[1] if len(header) > 1 else b"" for header in headers_named(message, name)]
