"""A site of several processes: whichever a message is posted to, it reaches the stream, in order."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.event_source import EventSource
from tests.support.running_site import RunningSite


def test_messages_reach_streams_of_any_process_in_order(redis_url: str) -> None:
    options = ("--event-streams", "/room*", "--processes", "2", "--drain", "0.5")
    with RunningSite(redis_url, workers=1, options=options) as site, ExitStack() as stack:
        site.interface.wait_for_line(r"Interface server process \d+ listens", occurrences=2)
        sources: list[EventSource] = []
        while len({source.token.split(".")[1] for source in sources}) < 2:  # until both processes have one
            sources.append(stack.enter_context(EventSource(site.port, "/room")))
            assert len(sources) < 50
        for number in range(5):
            for source in sources:
                assert source.post(str(number)) == 204
        for source in sources:
            assert [source.next().data for _ in range(5)] == ["0", "1", "2", "3", "4"]
        site.interface.stop()
        for source in sources:
            assert source.rest() == []
            assert source.parser.retry is not None
            assert source.parser.retry <= 2000
        assert "Traceback" not in site.output
