"""The demonstration of at-most-once delivery, in its short form: nothing twice, and nothing lost without a reason."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import Process

DEMO = Path(__file__).parent.parent / "examples" / "at_most_once" / "demo.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("layer", ["local", "redis"])
def test_every_message_arrives_once_or_is_lost_for_a_reason(
    layer: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_url") if layer == "redis" else None
    picture = tmp_path / "picture.svg"
    command: list[str | Path] = [sys.executable, DEMO, "--messages", "1000", "--seconds", "1", "--picture", picture]
    with Process(command, env={"REDIS_URL": url, "DJANGO_SETTINGS_MODULE": None, "EXPIRY": "5"}) as demo:
        assert demo.wait(200) == 0, demo.output
    rows = {
        name: tuple(map(int, counts))
        for name, *counts in re.findall(r"^\| (\S.*?) +\| +(\d+) \| +(\d+) \| +(\d+) \| +(\d+) \|", demo.output, re.M)
    }
    assert len(rows) == 6
    assert all(sent == once + lost and twice == 0 for sent, once, lost, twice in rows.values())
    assert rows["nothing goes wrong"][2] == 0
    assert rows["all workers are replaced (SIGHUP)"][2] == 0
    counted = re.search(r"The supervisor counted (\d+) messages", demo.output)
    assert counted is not None
    handed_out = 2 * 10  # what each of the two was being given when it died is in no record
    assert rows["two workers are killed (SIGKILL)"][2] <= int(counted[1]) + handed_out
    assert 0 < rows["no worker runs for a while"][2] <= 200
    assert picture.read_text().startswith("<svg ")
