"""Fixtures of the tests of bindings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from channels_classic.binding.base import BindingMetaclass
from channels_classic.test import WSClient


@pytest.fixture(autouse=True)
def _own_bindings() -> Iterator[None]:
    """Unregister the bindings of each test at its end."""
    before, BindingMetaclass.binding_classes = BindingMetaclass.binding_classes, []
    signals = (pre_save, post_save, pre_delete, post_delete)
    receivers = [signal.receivers.copy() for signal in signals]
    yield
    BindingMetaclass.binding_classes = before
    for signal, saved in zip(signals, receivers, strict=True):
        signal.receivers = saved
        signal.sender_receivers_cache.clear()


@pytest.fixture
def client() -> WSClient:
    """A socket in the group that bindings of these tests send to."""
    client = WSClient()
    client.join_group("users")
    return client
