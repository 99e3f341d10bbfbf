"""Headers of a message, as interface servers send them and as test clients of Channels 1.x do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from channels_classic.message import Message


def header_values(message: Message, name: bytes) -> list[bytes]:
    """Return the values of all headers called ``name``, which is in lower case; a header without a value has ``b""``.

    ``headers`` is a list of pairs, or the dict of text to bytes that test clients of Channels 1.x send.
    """
    headers = message.get("headers") or []
    if isinstance(headers, dict):
        return [value for key, value in headers.items() if key.encode("latin-1") == name]
    return [header[1] if len(header) > 1 else b"" for header in headers if header and header[0] == name]
