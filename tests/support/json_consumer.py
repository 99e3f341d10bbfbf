"""A JSON consumer whose encoding and decoding can be seen in what comes back."""

from __future__ import annotations

import json
from typing import Any

from channels_classic.generic.websockets import JsonWebsocketConsumer


class MarkingConsumer(JsonWebsocketConsumer):
    """Echoes, and marks whatever it decodes and encodes."""

    @classmethod
    def decode_json(cls, text: str) -> Any:
        return {**json.loads(text), "decoded": True}

    @classmethod
    def encode_json(cls, content: Any) -> str:
        return json.dumps({**content, "encoded": True})

    # As JsonWebsocketConsumer, it is given the decoded content.
    def receive(self, content: Any, multiplexer: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        (self if multiplexer is None else multiplexer).send(content)
