"""Steps that wait until what the consumer sent before has been written."""

from __future__ import annotations

import pytest

from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import Flush, Join, Leave, Step
from channels_classic.worker.ordering import must_wait

TO_GROUP = Outgoing("room", {}, group=True)
TO_CHANNEL = Outgoing("room", {})


@pytest.mark.parametrize(
    ("step", "sent", "waits"),
    [
        (Join("room", "", ["one"]), [TO_GROUP], True),
        (Leave("room", "", ["one"]), [TO_GROUP], True),
        (Join("other", "", ["one"]), [TO_GROUP], False),
        (Join("room", "", ["one"]), [TO_CHANNEL], False),
        (Flush(), [TO_CHANNEL], True),
        (Flush(), [], False),
    ],
)
def test_a_membership_waits_for_messages_to_its_group_alone(step: Step, sent: list[Outgoing], waits: bool) -> None:
    assert must_wait([step], sent) is waits
