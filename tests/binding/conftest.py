"""Fixtures of the tests of bindings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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


@pytest.fixture
def rejected(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return the only line of the log, which is about a rejected change."""

    def line() -> str:
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.exc_info is None
        message = record.getMessage()
        assert "\n" not in message
        caplog.clear()
        return message

    return line
