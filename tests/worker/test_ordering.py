"""Steps that wait until what the consumer sent before has been written."""

from __future__ import annotations

import pytest

from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import EMPTY, Flush, Join, Leave, Publish, Record, Step
from channels_classic.worker.ordering import must_wait

TO_GROUP = Outgoing("room", {}, group=True)
TO_CHANNEL = Outgoing("room", {})
PUBLISH = Publish("other", EMPTY, "interface.v2.", 60.0, "@other", 1000)


@pytest.mark.parametrize(
    ("step", "sent", "waits"),
    [
        (Join("room", "", ["one"]), [TO_GROUP], True),
        (Leave("room", "", ["one"]), [TO_GROUP], True),
        (Join("other", "", ["one"]), [TO_GROUP], False),
        (Join("room", "", ["one"]), [TO_CHANNEL], False),
        (Flush(), [TO_CHANNEL], True),
        (Flush(), [], False),
        (PUBLISH, [TO_CHANNEL], True),
        (PUBLISH, [], False),
        (Record("other", b"", 1, 60.0), [TO_CHANNEL], True),
    ],
)
def test_a_membership_waits_for_messages_to_its_group_alone_and_a_message_for_all(
    step: Step, sent: list[Outgoing], waits: bool
) -> None:
    assert must_wait([step], sent) is waits
