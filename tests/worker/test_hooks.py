"""The signals around consumers: sent when a project listens, replaced by direct calls when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import close_old_connections, connection

from channels_classic.message import pending_message_store
from channels_classic.signals import consumer_finished, consumer_started
from channels_classic.worker.hooks import ConsumerHooks, check_old_connections


class Sender:
    """A class of workers."""


@pytest.fixture
def hooks() -> ConsumerHooks:
    return ConsumerHooks(Sender)


def _noting(seen: list[str], name: str, call: Any) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return call(*args, **kwargs)

    return noted


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Gives the signals that were sent by Django's own methods."""
    seen: list[str] = []
    for name, signal in (("started", consumer_started), ("finished", consumer_finished)):
        for method in ("send", "send_robust", "asend", "asend_robust"):
            monkeypatch.setattr(signal, method, _noting(seen, name, getattr(signal, method)))
    yield seen
    pending_message_store.send_and_flush()


def test_signals_without_other_receivers_are_not_sent_but_consumers_are_prepared(
    hooks: ConsumerHooks, sent: list[str]
) -> None:
    hooks.start()
    assert pending_message_store.active
    hooks.finish()
    assert not pending_message_store.active
    assert sent == []


@pytest.mark.parametrize(("name", "signal"), [("started", consumer_started), ("finished", consumer_finished)])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_receiver_is_called_from_when_it_connects_until_it_disconnects(
    hooks: ConsumerHooks, sent: list[str], name: str, signal: Any, is_async: bool
) -> None:
    seen: list[object] = []

    def receiver(sender: object, **kwargs: object) -> None:
        seen.append(sender)

    async def around() -> None:
        await hooks.start_async()
        await hooks.finish_async()

    for connected in (False, True, False):
        if connected:
            signal.connect(receiver)
        else:
            signal.disconnect(receiver)
        if is_async:
            asyncio.run(around())
        else:
            hooks.start()
            hooks.finish()
        assert (seen, sent) == ([Sender] * connected, [name] * connected)
        seen.clear()
        sent.clear()


def test_a_project_that_disconnects_the_check_of_connections_is_obeyed(hooks: ConsumerHooks, sent: list[str]) -> None:
    receivers = list(consumer_finished.receivers)
    assert consumer_finished.disconnect(close_old_connections)
    try:
        hooks.start()
        hooks.finish()
        assert sent == ["finished"]
    finally:
        consumer_finished.receivers[:] = receivers  # connecting it again would put it last


def test_a_receiver_of_consumer_finished_that_fails_is_logged(
    hooks: ConsumerHooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: object) -> None:
        raise SystemExit("a receiver that ends the process")

    consumer_finished.connect(fail)
    try:
        hooks.start()
        hooks.finish()
    finally:
        consumer_finished.disconnect(fail)
    assert "A receiver of consumer_finished failed" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_too_old_is_closed_and_none_is_looked_for_afterwards(
    hooks: ConsumerHooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    connection.close_at = 0
    hooks.start()
    hooks.finish()
    assert connection.connection is None
    looked: list[str] = []
    monkeypatch.setattr("channels_classic.worker.hooks.close_old_connections", lambda: looked.append("looked"))
    check_old_connections()
    assert looked == []
    connection.ensure_connection()
    check_old_connections()
    assert looked == ["looked"]
    connection.close()
