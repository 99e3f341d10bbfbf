"""Signals around requests that nobody but Django listens to are not sent; what their receivers do is done."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries
from django.dispatch import Signal
from django.http import HttpResponse
from django.urls import get_urlconf, set_urlconf

from channels_classic.listeners import AroundRequest, check_old_connections


class Handler:
    """A sender."""


@pytest.fixture
def around() -> AroundRequest:
    return AroundRequest(Handler)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called of the signals' own methods."""
    seen: list[str] = []
    for name, signal in (("started", request_started), ("finished", request_finished)):
        send = signal.send

        def spy(*args: Any, name: str = name, send: Any = send, **kwargs: Any) -> Any:
            seen.append(name)
            return send(*args, **kwargs)

        monkeypatch.setattr(signal, "send", spy)
    return seen


def test_this_django_connects_what_is_known_here() -> None:
    # In a process of its own: the test clients disconnect and connect receivers.
    code = (
        "import django; from django.conf import settings; settings.configure(); django.setup()\n"
        "from channels_classic.handler import AsgiHandler\n"
        "around = AsgiHandler()._around\n"
        "assert around._starting.are_usual() and around._finishing.are_usual()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_thread_without_connections_sends_no_signal(around: AroundRequest, calls: list[str]) -> None:
    connection.close()
    check_old_connections()
    around.start({})
    around.finish(HttpResponse())
    assert calls == []


@pytest.mark.django_db(transaction=True)
def test_connections_are_checked_and_queries_forgotten_once_there_is_a_connection(around: AroundRequest) -> None:
    connection.close()
    check_old_connections()
    around.start({})
    connection.ensure_connection()
    connection.queries_log.append({"sql": "SELECT 1"})
    connection.close_at = 0
    around.finish(HttpResponse())
    assert connection.connection is None
    connection.ensure_connection()
    around.start({})
    assert not connection.queries_log
    connection.close()


def test_queries_of_the_last_request_are_forgotten_while_debugging(around: AroundRequest, settings: Any) -> None:
    settings.DEBUG = True
    connection.close()
    check_old_connections()
    connection.queries_log.append({"sql": "SELECT 1"})
    around.start({})
    assert not connection.queries_log
    reset_queries()


@pytest.mark.parametrize("signal", [request_started, request_finished])
def test_who_listens_is_called_and_who_stops_is_not(around: AroundRequest, signal: Signal) -> None:
    connection.close()
    check_old_connections()
    seen: list[object] = []

    def receiver(sender: object, **kwargs: object) -> None:
        seen.append(sender)

    for connected in (False, True, False):
        if connected:
            signal.connect(receiver)
        else:
            signal.disconnect(receiver)
        around.start({})
        around.finish(HttpResponse())
        assert seen == [Handler] * connected
        seen.clear()


def test_who_disconnects_the_check_of_connections_is_obeyed(around: AroundRequest, calls: list[str]) -> None:
    receivers = list(request_finished.receivers)
    assert request_finished.disconnect(close_old_connections)
    try:
        around.finish(HttpResponse())
        assert calls == ["finished"]
    finally:
        request_finished.receivers[:] = receivers


def test_finishing_closes_the_response_and_resets_the_urlconf(around: AroundRequest) -> None:
    closed: list[str] = []

    def fail() -> None:
        raise OSError("a file that cannot be closed")

    response = HttpResponse()
    response._resource_closers += [fail, lambda: closed.append("file")]  # type: ignore[attr-defined]
    set_urlconf("tests.urls")
    around.finish(response)
    assert (closed, response.closed, get_urlconf()) == (["file"], True, None)
    around.finish(response)
    assert closed == ["file"], "each is closed once"


class OwnClose(HttpResponse):
    was_closed = False

    def close(self) -> None:
        self.was_closed = True
        super().close()


def test_a_response_that_closes_itself_in_its_own_way_does_so(around: AroundRequest, calls: list[str]) -> None:
    response = OwnClose()
    around.finish(response)
    assert response.was_closed
    replaced = HttpResponse()
    replaced.close = lambda: calls.append("its own")  # type: ignore[method-assign]
    around.finish(replaced)
    assert calls == ["finished", "its own"]
