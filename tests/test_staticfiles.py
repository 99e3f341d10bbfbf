"""Static files, served while developing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.message import Message
from channels_classic.staticfiles import DevelopmentStaticFiles, StaticFilesConsumer, StaticFilesHandler

if TYPE_CHECKING:
    from pytest_django import Settings

CSS = "/static/admin/css/base.css"

# Views close old database connections, and a test before may have left one open.
pytestmark = pytest.mark.django_db


def ask(path: str, layer: Any = "a layer") -> list[dict[str, Any]]:
    content = {"reply_channel": "reply!x", "path": path, "method": "GET"}
    return list(StaticFilesHandler()(Message(content, "http.request", layer)))


def test_a_static_file_is_served_with_debug_off() -> None:
    first, *_ = ask(CSS)
    assert first["status"] == 200
    assert dict(first["headers"])[b"Content-Type"] == b"text/css"
    assert b"DJANGO Admin styles" in first["content"]


def test_in_front_of_the_application_a_request_that_cannot_be_parsed_is_a_bad_one() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"content-type", b"text/plain; x*=bogus''%41")]
    scope = {"type": "http", "method": "GET", "path": CSS, "query_string": b"", "headers": headers}
    application: Any = None
    asyncio.run(DevelopmentStaticFiles(application)(scope, receive, send))
    assert sent[0]["status"] == 400


def test_static_files_pass_the_middleware_by_and_views_do_not(settings: Settings) -> None:
    settings.MIDDLEWARE = ["tests.test_staticfiles.Marking"]
    assert b"X-Marked" not in dict(ask(CSS)[0]["headers"])
    assert b"X-Marked" in dict(ask("/elsewhere/")[0]["headers"])


class Marking:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        response["X-Marked"] = "yes"
        return response


def test_a_missing_file_explains_itself_with_debug_and_is_left_to_the_views_without(settings: Settings) -> None:
    settings.MIDDLEWARE = ["tests.test_staticfiles.Marking"]
    settings.DEBUG = True
    (reply,) = ask("/static/nothing.css")
    assert reply["status"] == 404
    assert b"X-Marked" not in dict(reply["headers"])
    settings.DEBUG = False
    (reply,) = ask("/static/nothing.css")
    assert reply["status"] == 404
    assert b"X-Marked" in dict(reply["headers"])


def test_files_of_another_host_are_left_to_the_views(settings: Settings) -> None:
    settings.STATIC_URL = "https://cdn.example.com/static/"
    assert ask(CSS)[0]["status"] == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [("/static/../settings.py", 400), ("/static/%2e%2e/settings.py", 400), ("/static//etc/passwd", 404)],
)
def test_nothing_outside_the_static_folders_is_served(path: str, status: int) -> None:
    assert ask(path)[0]["status"] == status


def test_the_consumer_serves_files(default_layer: ChannelLayerWrapper) -> None:
    content = {"reply_channel": "reply!x", "path": CSS, "method": "GET"}
    StaticFilesConsumer()(Message(content, "http.request", default_layer))
    assert default_layer.receive(["reply!"])[1]["status"] == 200
