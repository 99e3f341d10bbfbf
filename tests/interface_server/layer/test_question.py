"""Questions of workers, as they come in a message."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.layer.question import Question, question_of


@pytest.mark.parametrize(
    ("found", "question"),
    [
        ({"channel": "answers!a", "number": 3}, Question("answers!a", 3)),
        ({"channel": "answers!a", "number": 3, "offset": 0}, Question("answers!a", 3, 0)),
        ({"channel": "answers!a", "number": 3, "offset": -1}, None),
        ({"channel": "answers!a", "number": 3, "offset": 2**63}, None),
        ({"channel": "answers!a", "number": 3, "offset": "0"}, None),
        ({"channel": "answers!a", "number": "3"}, None),
        ({"channel": "no name", "number": 3}, None),
        ({"channel": None, "number": 3}, None),
        ("answers!a", None),
        (None, None),
    ],
)
def test_a_question_that_cannot_be_answered_is_none(found: object, question: Question | None) -> None:
    assert question_of({"question": found}) == question


def test_an_answer_repeats_the_number() -> None:
    answer = Question("answers!a", 3).answer(closed=False, chunk={"content": b"a"})
    assert (answer.name, answer.message) == ("answers!a", {"number": 3, "closed": False, "content": b"a"})
