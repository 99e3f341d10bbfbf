"""The statistics extension, on every layer: what is counted, by channel and in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from channels_classic.exceptions import ChannelFull
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.losses import counted_name


def fill(layer: BaseChannelLayer, channel: str, number: int) -> None:
    for _ in range(number):
        with suppress(ChannelFull):
            layer.send(channel, {})


def test_messages_are_counted_by_channel_and_in_all(layer: BaseChannelLayer) -> None:
    fill(layer, "first_channel", 2)
    fill(layer, "second_channel", 1)
    assert layer.global_statistics() == {"messages_count": 3, "channel_full_count": 0}
    described = {"messages_max_age": 0, "channel_full_count": 0}
    assert layer.channel_statistics("first_channel") == {"messages_count": 2, "messages_pending": 2, **described}
    assert layer.channel_statistics("second_channel") == {"messages_count": 1, "messages_pending": 1, **described}


def test_what_was_read_still_counts_but_does_not_wait(layer: BaseChannelLayer) -> None:
    fill(layer, "jobs", 3)
    layer.receive(["jobs"])
    found = layer.channel_statistics("jobs")
    assert (found["messages_count"], found["messages_pending"]) == (3, 2)


def test_refusals_are_counted_and_refused_messages_are_not(layer: BaseChannelLayer) -> None:
    fill(layer, "jobs", layer.capacity + 4)
    found = layer.channel_statistics("jobs")
    assert (found["messages_count"], found["channel_full_count"]) == (layer.capacity, 4)
    assert layer.global_statistics()["channel_full_count"] == 4


def test_drops_inside_a_group_send_are_counted(layer: BaseChannelLayer) -> None:
    layer.group_add("group", "member")
    for _ in range(layer.capacity + 2):
        layer.send_group("group", {})
    assert layer.channel_statistics("member")["channel_full_count"] == 2


def test_the_clients_of_an_inbox_are_counted_together(layer: BaseChannelLayer) -> None:
    for client in "ab":
        fill(layer, f"inbox!{client}", 2)
    assert layer.channel_statistics("inbox!a") == layer.channel_statistics("inbox!")
    assert layer.channel_statistics("inbox!")["messages_count"] == 4


def test_the_age_of_the_oldest_message_is_told(layer: BaseChannelLayer) -> None:
    begun = time.monotonic()
    fill(layer, "jobs", 1)
    time.sleep(1.05)  # the age itself is what is tested
    fill(layer, "jobs", 1)
    assert 1 <= layer.channel_statistics("jobs")["messages_max_age"] <= time.monotonic() - begun


def test_losses_that_processes_count_are_told_to_the_layer(layer: BaseChannelLayer) -> None:
    layer.losses.count("unknown", "inbox!a", 3)
    layer.losses.count("dead", "inbox!")
    layer.send("jobs", {})
    assert layer.channel_statistics("inbox!")["lost_unknown"] == 3
    found = layer.global_statistics()
    assert (found["lost_unknown"], found["lost_dead"]) == (3, 1)


def test_a_flush_begins_the_statistics_anew(layer: BaseChannelLayer) -> None:
    fill(layer, "jobs", 1)
    layer.flush()
    assert layer.global_statistics() == {"messages_count": 0, "channel_full_count": 0}


def test_counting_many_channels_takes_no_more_room_than_some(layer: BaseChannelLayer) -> None:
    for number in range(5000):
        layer.losses.count("unknown", f"channel{number}")
        if number % 500 == 0:
            layer.channel_statistics("jobs")
    assert layer.global_statistics()["lost_unknown"] == 5000


def test_the_asyncio_face_tells_the_same(layer: BaseChannelLayer) -> None:
    fill(layer, "jobs", 2)

    async def ask() -> list[Any]:
        found = [await layer.global_statistics_async(), await layer.channel_statistics_async("jobs")]
        await layer.close_async()
        return found

    assert asyncio.run(ask()) == [layer.global_statistics(), layer.channel_statistics("jobs")]


def test_names_without_number_are_counted_as_one() -> None:
    name: Callable[[str], str] = counted_name
    assert [name("jobs"), name("body?x12"), name("inbox!a"), name("inbox!")] == ["jobs", "body?", "inbox!", "inbox!"]
