"""How far a response may be ahead of its client: the worker's side, on a memory layer."""

from __future__ import annotations

import threading

import pytest

from channels_classic._credit import WINDOW, Credit
from channels_classic.channel import Channel
from channels_classic.exceptions import RequestAborted
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.names import new_inbox


@pytest.fixture
def layer() -> ChannelLayer:
    return ChannelLayer()


@pytest.fixture
def credit(layer: ChannelLayer) -> Credit:
    return Credit(Channel(new_inbox() + "client", channel_layer=layer))


def test_the_first_window_is_free(credit: Credit) -> None:
    credit.spend(WINDOW - 1)
    credit.spend(1)


def test_the_rest_waits_until_the_client_has_taken_enough(layer: ChannelLayer, credit: Credit) -> None:
    credit.spend(WINDOW)
    waiting = threading.Thread(target=credit.spend, args=(1000,))
    waiting.start()
    layer.send(str(credit.channel), {"written": 999})
    waiting.join(0.1)
    assert waiting.is_alive()
    layer.send(str(credit.channel), {"written": 1000})
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_part_larger_than_the_window_goes_when_nothing_is_under_way(layer: ChannelLayer, credit: Credit) -> None:
    credit.spend(2 * WINDOW)
    layer.send(str(credit.channel), {"written": 2 * WINDOW - 1000})
    credit.spend(2 * WINDOW)


def test_a_client_that_is_gone_ends_the_response(layer: ChannelLayer, credit: Credit) -> None:
    credit.spend(WINDOW)
    layer.send(str(credit.channel), {"closed": True})
    with pytest.raises(RequestAborted):
        credit.spend(1)


def test_nobody_waits_for_a_client_that_gives_no_credit(layer: ChannelLayer) -> None:
    credit = Credit(Channel("test!client", channel_layer=layer))
    assert credit.channel is None
    credit.spend(10 * WINDOW)
