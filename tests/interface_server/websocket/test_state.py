"""The answers to handshakes that nobody decided."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.websocket.state import refusal_of


@pytest.mark.parametrize(
    ("is_sent", "is_taken", "status", "words"),
    [
        (False, False, 503, "could not be sent"),
        (True, False, 403, "no worker took"),
        (True, True, 403, "neither accepted nor closed"),
        (False, True, 403, "neither accepted nor closed"),  # the report came before the layer's answer
    ],
)
def test_the_answer_says_how_far_the_handshake_came(is_sent: bool, is_taken: bool, status: int, words: str) -> None:
    refusal = refusal_of(is_sent=is_sent, is_taken=is_taken)
    assert refusal.status == status
    assert words in refusal.text % ("/", "websocket.connect", 5)
