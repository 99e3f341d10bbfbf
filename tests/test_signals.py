"""Signals around consumers, and the database connections that they close."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.db import close_old_connections, connection, transaction
from django.dispatch import Signal

from channels_classic import signals
from channels_classic.signals import consumer_finished, consumer_started


@pytest.fixture(autouse=True)
def _checked_long_ago() -> None:
    signals._thread.next_check = 0


def test_there_are_the_signals_of_channels_1() -> None:
    for name in ("consumer_started", "consumer_finished", "worker_ready", "worker_process_ready"):
        assert isinstance(getattr(signals, name), Signal)


@pytest.mark.parametrize("signal", [consumer_started, consumer_finished])
def test_signals_can_be_sent_by_nobody_as_tests_of_channels_1_projects_do(signal: Signal) -> None:
    signal.send(sender=None)
    consumer_finished.send(sender=None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("signal", [consumer_started, consumer_finished])
def test_a_connection_that_is_too_old_is_closed_around_a_consumer(signal: Signal) -> None:
    connection.ensure_connection()
    connection.close_at = 0
    signal.send(sender=None)
    assert connection.connection is None
    consumer_finished.send(sender=None)


@pytest.mark.django_db(transaction=True)
def test_a_connection_inside_a_transaction_is_left_alone_when_a_consumer_starts() -> None:
    with transaction.atomic():
        connection.close_at = 0
        consumer_started.send(sender=None)
        assert connection.connection is not None
    consumer_finished.send(sender=None)


def test_code_for_channels_1_can_disconnect_the_check_by_its_function() -> None:
    receivers = list(consumer_finished.receivers)
    assert consumer_finished.disconnect(close_old_connections)
    consumer_finished.receivers[:] = receivers  # connecting it again would put it last


def test_connections_are_closed_before_pending_messages_are_sent() -> None:
    # In a process of its own: the test clients disconnect the check for a moment, which changes the order.
    code = (
        "import channels_classic.message\n"
        "from channels_classic.signals import close_old_connections, consumer_finished\n"
        "assert consumer_finished.receivers[0][1]() is close_old_connections"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
