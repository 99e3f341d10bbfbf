"""From a request message to a Django view, and from its response to messages."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core import signals
from django.db import connection
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import path, reverse

from channels_classic import Channel
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import ChannelFull, RequestAborted, RequestTimeout, ResponseLater
from channels_classic.handler import AsgiHandler, AsgiRequest, HttpResponseLater, ViewConsumer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message, pending_message_store
from channels_classic.signals import consumer_finished, consumer_started

if TYPE_CHECKING:
    from pytest_django import Settings


def message(layer: Any = "a layer", **content: Any) -> Message:
    content = {"reply_channel": "reply!x", "path": b"/test/", "method": "GET", **content}
    return Message(content, "http.request", layer)


class CannedHandler(AsgiHandler):
    """A handler with small chunks that gives the response it was made with."""

    chunk_size = 30

    def __init__(self, respond: Callable[[], Any]) -> None:
        super().__init__()
        self.respond = respond

    def get_response(self, request: Any) -> Any:
        return self.respond()


def replies_to(response: Any) -> list[dict[str, Any]]:
    return list(CannedHandler(lambda: response)(message()))


# What a response becomes


def test_a_response_is_one_message() -> None:
    response = HttpResponse(b"Hi there!", content_type="text/plain")
    assert replies_to(response) == [
        {"status": 200, "headers": [(b"Content-Type", b"text/plain")], "content": b"Hi there!", "more_content": False}
    ]
    assert response.closed


def test_a_cookie_is_a_header_of_its_own_without_a_leading_space() -> None:
    response = HttpResponse(b"x", content_type="text/plain")
    response.set_signed_cookie("foo", "1")
    response.set_cookie("bar", "2")
    headers = replies_to(response)[0]["headers"]
    assert [name for name, _ in headers] == [b"Content-Type", b"Set-Cookie", b"Set-Cookie"]
    assert headers[1][1].startswith(b"foo=1:")
    assert headers[2][1] == b"bar=2; Path=/"


def test_header_values_become_text_and_deleted_headers_stay_away() -> None:
    response = HttpResponse(b"x", content_type="text/plain")
    response["X-Int"] = 5
    response["X-Latin"] = "café"
    response["X-Gone"] = "x"
    del response["X-Gone"]
    del response["X-Never"]
    assert replies_to(response)[0]["headers"] == [
        (b"Content-Type", b"text/plain"),
        (b"X-Int", b"5"),
        (b"X-Latin", b"caf\xe9"),
    ]


def test_a_large_body_is_cut_and_only_the_first_part_has_a_status() -> None:
    first, second = replies_to(HttpResponse(b"A" * 46))
    assert (first["status"], len(first["content"]), first["more_content"]) == (200, 30, True)
    assert second == {"content": b"A" * 16, "more_content": False}


def test_an_empty_response_is_one_message() -> None:
    (reply,) = replies_to(HttpResponse(b"", status=304))
    assert (reply["status"], reply["content"], reply["more_content"]) == (304, b"", False)


def test_an_empty_stream_is_one_message_without_content() -> None:
    (reply,) = replies_to(StreamingHttpResponse([], status=304))
    assert (reply["status"], reply["more_content"]) == (304, False)
    assert "content" not in reply


def test_chunks_are_pairs_of_bytes_and_whether_it_is_the_last() -> None:
    cut = CannedHandler.chunk_bytes
    assert list(cut(b"")) == [(b"", True)]
    assert list(cut(b"a" * 29)) == [(b"a" * 29, True)]
    assert list(cut(b"a" * 30)) == [(b"a" * 30, True)]
    assert list(cut(b"a" * 31)) == [(b"a" * 30, False), (b"a", True)]
    assert list(cut(b"a" * 60)) == [(b"a" * 30, False), (b"a" * 30, True)]


def test_an_iterator_in_a_plain_response_is_joined() -> None:
    (reply,) = replies_to(HttpResponse(range(10)))
    assert reply["content"] == b"0123456789"


def test_a_stream_is_a_message_per_part_and_one_that_ends_it() -> None:
    replies = replies_to(StreamingHttpResponse([*map(str, range(9)), ""]))
    assert len(replies) == 11
    assert replies[0]["status"] == 200
    assert all(reply["more_content"] for reply in replies[:-1])
    assert [reply["content"] for reply in replies[8:10]] == [b"8", b""]
    assert replies[-1] == {"more_content": False}


def test_a_large_part_of_a_stream_is_cut() -> None:
    assert [len(reply.get("content", b"")) for reply in replies_to(StreamingHttpResponse([b"A" * 46]))] == [30, 16, 0]


def test_a_file_is_read_in_large_blocks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    file = (tmp_path / "file").open("rb")
    assert len(replies_to(FileResponse(file))) == 2
    assert file.closed
    assert len(replies_to(FileResponse(io.BytesIO(b"contents")))) == 2
    assert len(replies_to(FileResponse(iter("abcd")))) == 5
    blocks = list(AsgiHandler.encode_response(FileResponse(io.BytesIO(b"a" * 600_000))))
    assert len(blocks) > 3  # as Django reads; the handler asks for larger ones:
    handler = AsgiHandler()
    handler.get_response = lambda request: FileResponse(io.BytesIO(b"a" * 600_000))  # type: ignore[method-assign]
    assert [len(reply.get("content", b"")) for reply in handler(message())] == [512 * 1024, 600_000 - 512 * 1024, 0]


def test_a_file_response_that_says_it_does_not_stream_has_no_content() -> None:
    response = FileResponse(io.BytesIO(b"sadf"))
    response.streaming = False
    with pytest.raises(AttributeError):
        replies_to(response)


class Unclosable:
    def read(self, size: int = -1) -> bytes:
        return b""


def test_a_file_without_close_can_be_closed_and_an_empty_one_is_one_message() -> None:
    response = FileResponse(Unclosable())
    assert len(replies_to(response)) == 1
    response.close()


def test_json_and_redirects_pass_unchanged() -> None:
    assert replies_to(JsonResponse({"foo": (1, 2)}))[0]["content"] == b'{"foo": [1, 2]}'
    for location in ("/", "..", "https://example.com"):
        assert dict(replies_to(HttpResponseRedirect(location))[0]["headers"])[b"Location"] == location.encode()


def test_user_code_can_encode_a_response_itself(default_layer: ChannelLayerWrapper) -> None:
    for reply in AsgiHandler.encode_response(HttpResponse(b"x")):
        Channel("reply!x").send(reply)
    assert default_layer.receive(["reply!"])[1]["content"] == b"x"


class SignedHandler(CannedHandler):
    """A handler of a project that adds a header to every response."""

    @classmethod
    def encode_response(cls, response: Any) -> Iterator[dict[str, Any]]:
        for reply in super().encode_response(response):
            if "headers" in reply:
                reply["headers"].append((b"X-Site", b"1"))
            yield reply


@pytest.mark.parametrize("make", [HttpResponse, StreamingHttpResponse], ids=["whole", "in parts"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_override_of_encode_response_sees_responses_without_content_too(make: Any, method: str, status: int) -> None:
    response = make([b"content"], status=status, headers={"Content-Length": "7"})
    (reply,) = SignedHandler(lambda: response)(message(method=method))
    assert {(b"Content-Length", b"7"), (b"X-Site", b"1")} <= set(reply["headers"])
    assert (reply["status"], reply.get("content", b""), reply["more_content"]) == (status, b"", False)
    assert b"".join(response) == b"content"  # which the view may keep for other requests


# The life of a request


@pytest.fixture
def sent() -> Iterator[list[Any]]:
    """The signals of requests, as names and senders."""
    seen: list[Any] = []

    def started(sender: Any, **kwargs: Any) -> None:
        seen.append(("started", sender, kwargs["message"]["path"]))

    def finished(sender: Any, **kwargs: Any) -> None:
        seen.append(("finished", sender))

    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    yield seen
    signals.request_started.disconnect(started)
    signals.request_finished.disconnect(finished)


def test_nothing_happens_before_the_generator_is_asked(sent: list[Any]) -> None:
    replies = CannedHandler(HttpResponse)(message())
    assert sent == []
    list(replies)
    assert sent == [("started", CannedHandler, b"/test/"), ("finished", CannedHandler)]


def test_an_abandoned_generator_closes_its_response(sent: list[Any]) -> None:
    response = StreamingHttpResponse(["a", "b"])
    replies = CannedHandler(lambda: response)(message())
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    assert response.closed
    assert sent[-1] == ("finished", CannedHandler)


@pytest.mark.parametrize("content", [{"query_string": b"a=\xff"}, {"body": "text"}])
def test_a_message_that_is_no_request_is_answered_400(
    content: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (reply,) = CannedHandler(HttpResponse)(message(**content))
    assert (reply["status"], reply["content"]) == (400, b"")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


class FailingRequest(AsgiRequest):
    error: type[Exception]

    def __init__(self, message: Message) -> None:
        raise self.error


def test_a_slow_upload_is_answered_408_and_an_aborted_one_not_at_all(sent: list[Any]) -> None:
    handler = CannedHandler(HttpResponse)
    handler.request_class = FailingRequest
    FailingRequest.error = RequestTimeout
    reply, *_ = handler(message())
    assert reply["status"] == 408
    assert b"408" in reply["content"]
    FailingRequest.error = RequestAborted
    assert list(handler(message())) == []
    assert [name for name, *_ in sent] == ["started", "finished"] * 2


def test_a_subclass_of_an_error_is_answered_like_the_error() -> None:
    class UploadTimeout(RequestTimeout):
        pass

    handler = CannedHandler(HttpResponse)
    handler.request_class = FailingRequest
    FailingRequest.error = UploadTimeout
    reply, *_ = handler(message())
    assert reply["status"] == 408


# Views


def hello(request: Any) -> HttpResponse:
    return HttpResponse(f"hello at {reverse('hello')}")


def later(request: Any) -> HttpResponse:
    raise ResponseLater


def later_by_request(request: AsgiRequest) -> HttpResponse:
    raise request.ResponseLater


def later_by_response(request: Any) -> HttpResponse:
    return HttpResponseLater()


class LaterTemplate(SimpleTemplateResponse):
    @property
    def rendered_content(self) -> str:
        raise ResponseLater


def later_by_template(request: Any) -> HttpResponse:
    return LaterTemplate("none")


def broken(request: Any) -> HttpResponse:
    raise ZeroDivisionError


async def asynchronous(request: Any) -> HttpResponse:
    Channel("from.view").send({"n": 1})
    return HttpResponse("async")


def sending(request: Any) -> HttpResponse:
    request.reply_channel.send({"n": 1})
    return HttpResponse("sync")


def streaming(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(["a", "b"])


def creating(request: Any) -> HttpResponse:
    User.objects.create_user("someone")
    assert connection.in_atomic_block
    raise ResponseLater


urlpatterns = [
    path("hello/", hello, name="hello"),
    path("later/", later),
    path("later/request/", later_by_request),
    path("later/response/", later_by_response),
    path("later/template/", later_by_template),
    path("broken/", broken),
    path("async/", asynchronous),
    path("sending/", sending),
    path("streaming/", streaming),
    path("creating/", creating),
]


class LaterInMiddleware:
    def __init__(self, get_response: Any) -> None: ...

    def __call__(self, request: Any) -> HttpResponse:
        raise ResponseLater


class Witness:
    """Notes what passes it, and what exceptions it is shown."""

    seen: list[Any] = []  # noqa: RUF012

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        self.seen.append(response.status_code)
        return response

    def process_exception(self, request: Any, exception: Exception) -> None:
        self.seen.append(exception)


@pytest.fixture
def urls(settings: Settings) -> Settings:
    settings.ROOT_URLCONF = "tests.test_handler"
    return settings


def ask(path: str, **content: Any) -> list[dict[str, Any]]:
    return list(AsgiHandler()(message(path=path, **content)))


def test_a_view_responds_below_the_root_path(urls: Settings) -> None:
    (reply,) = ask("/hello/")
    assert (reply["status"], reply["content"]) == (200, b"hello at /hello/")
    (reply,) = ask("/at/hello/", root_path="/at")
    assert reply["content"] == b"hello at /at/hello/"
    (reply,) = ask("/hello/")
    assert reply["content"] == b"hello at /hello/"


def test_what_is_not_there_is_a_404_and_a_view_that_raises_a_500(urls: Settings) -> None:
    assert ask("/nothing/")[0]["status"] == 404
    assert ask("/broken/")[0]["status"] == 500


@pytest.mark.parametrize("path", ["/later/", "/later/request/", "/later/response/", "/later/template/"])
@pytest.mark.parametrize("debug", [True, False])
def test_a_view_can_leave_the_response_for_later(
    urls: Settings, path: str, debug: bool, caplog: pytest.LogCaptureFixture, sent: list[Any]
) -> None:
    urls.DEBUG = debug
    urls.MIDDLEWARE = ["tests.test_handler.Witness", *urls.MIDDLEWARE]
    Witness.seen = []
    assert ask(path) == []
    assert Witness.seen == [113]
    assert caplog.records == []
    assert [name for name, *_ in sent] == ["started", "finished"]


def test_middleware_can_leave_the_response_for_later(urls: Settings, caplog: pytest.LogCaptureFixture) -> None:
    urls.MIDDLEWARE = ["tests.test_handler.Witness", "tests.test_handler.LaterInMiddleware"]
    Witness.seen = []
    assert ask("/hello/") == []
    assert Witness.seen == [113]
    assert caplog.records == []


def test_middleware_still_sees_what_views_raise(urls: Settings) -> None:
    urls.MIDDLEWARE = ["tests.test_handler.Witness"]
    Witness.seen = []
    assert ask("/broken/")[0]["status"] == 500
    assert isinstance(Witness.seen[0], ZeroDivisionError)
    assert Witness.seen[1] == 500


@pytest.mark.django_db(transaction=True)
def test_raising_response_later_rolls_an_atomic_view_back(urls: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert ask("/creating/") == []
    assert not User.objects.exists()


@pytest.mark.parametrize(("debug", "text"), [(False, b"Internal Server Error"), (True, b"ModuleNotFoundError")])
def test_what_django_cannot_answer_is_a_plain_500(
    settings: Settings,
    debug: bool,
    text: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ROOT_URLCONF = "tests.no_such_urls"
    settings.DEBUG = debug
    handler = AsgiHandler()
    if debug:
        monkeypatch.setattr(handler, "get_response", lambda request: __import__("tests.no_such_urls"))
    (reply,) = handler(message(path="/"))
    assert reply["status"] == 500
    assert text in reply["content"]
    assert (b"Traceback" in reply["content"]) is debug
    assert dict(reply["headers"])[b"Content-Type"] == b"text/plain"
    assert "Internal Server Error: /" in caplog.text


def test_exceptions_pass_when_django_is_told_to_propagate_them(settings: Settings) -> None:
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    with pytest.raises(ZeroDivisionError):
        list(CannedHandler(lambda: 1 / 0)(message()))


# The consumer


def consume(layer: Any, consumer: Any, **content: Any) -> None:
    consumer_started.send(sender=None)
    try:
        consumer(message(layer, **content))
    finally:
        consumer_finished.send(sender=None)


def received(layer: Any, channel: str) -> list[dict[str, Any]]:
    messages = []
    while (found := layer.receive([channel])[1]) is not None:
        messages.append(found)
    return messages


def test_the_consumer_ignores_what_the_route_captured(urls: Settings, default_layer: ChannelLayerWrapper) -> None:
    consumer: Any = ViewConsumer()
    assert consumer(message(default_layer, path="/hello/"), slug="x") is None
    assert [reply["status"] for reply in received(default_layer, "reply!")] == [200]


def test_outside_a_consumer_the_response_is_sent_at_once(urls: Settings, default_layer: ChannelLayerWrapper) -> None:
    ViewConsumer()(message(default_layer, path="/streaming/"))
    assert [reply.get("content") for reply in received(default_layer, "reply!")] == [b"a", b"b", None]


def test_a_response_goes_out_before_what_its_view_sent(urls: Settings, default_layer: ChannelLayerWrapper) -> None:
    consume(default_layer, ViewConsumer(), path="/sending/")
    first, second = received(default_layer, "reply!")
    assert first["content"] == b"sync"
    assert second == {"n": 1}


def test_the_last_message_of_a_response_waits_for_the_worker_and_parts_before_it_do_not(
    urls: Settings, default_layer: ChannelLayerWrapper
) -> None:
    deliveries: list[Any] = []
    with pending_message_store.deliver_with(deliveries.append):
        consume(default_layer, ViewConsumer(), path="/hello/")
        assert received(default_layer, "reply!") == []
        ((pair,),) = deliveries
        assert pair[0].name == "reply!x"
        assert pair[1]["content"] == b"hello at /hello/"
        consume(default_layer, ViewConsumer(), path="/streaming/")
    assert [reply["content"] for reply in received(default_layer, "reply!")] == [b"a", b"b"]
    assert deliveries[1][0][1] == {"more_content": False}


def test_an_async_view_is_served_and_its_sends_wait(urls: Settings, default_layer: ChannelLayerWrapper) -> None:
    deliveries: list[Any] = []
    with pending_message_store.deliver_with(deliveries.append):
        consume(default_layer, ViewConsumer(), path="/async/")
    ((response, send),) = deliveries
    assert response[1]["content"] == b"async"
    assert send[1] == {"n": 1}


def test_a_view_that_leaves_its_response_for_later_sends_nothing(
    urls: Settings, default_layer: ChannelLayerWrapper
) -> None:
    consume(default_layer, ViewConsumer(), path="/later/")
    assert received(default_layer, "reply!") == []


def test_parts_wait_while_the_channel_of_the_client_is_full(urls: Settings) -> None:
    layer = ChannelLayer(capacity=1)
    worker = threading.Thread(target=ViewConsumer(), args=(message(layer, path="/streaming/"),))
    worker.start()
    replies: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while len(replies) < 3 and time.monotonic() < deadline:
        replies += received(layer, "reply!")
    worker.join()
    assert [reply.get("content") for reply in replies] == [b"a", b"b", None]


def test_parts_that_nobody_takes_are_given_up_after_the_expiry_of_the_layer(urls: Settings) -> None:
    layer = ChannelLayer(capacity=1, expiry=0.1)
    layer.send("reply!x", {})
    layer.expiry = 0
    consumer = ViewConsumer()
    consumer.retry_interval = 0.001
    with pytest.raises(ChannelFull):
        consumer(message(layer, path="/streaming/"))


def test_a_request_without_a_reply_channel_is_an_error_that_names_its_channel(
    urls: Settings, default_layer: ChannelLayerWrapper
) -> None:
    with pytest.raises(ValueError, match=r"'http\.request' has no reply_channel"):
        ViewConsumer()(message(default_layer, path="/hello/", reply_channel=None))


# The admin, as a whole


@pytest.mark.django_db(transaction=True)
def test_the_admin_can_be_logged_into_and_used(default_layer: ChannelLayerWrapper) -> None:
    User.objects.create_superuser("staff", password="secret")
    consumer = ViewConsumer()

    def ask(path: str, method: str = "GET", body: bytes = b"", cookie: str = "") -> dict[str, Any]:
        headers = [
            (b"host", b"localhost"),
            (b"cookie", cookie.encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        consumer(message(default_layer, path=path, method=method, body=body, headers=headers))
        (reply,) = received(default_layer, "reply!")
        return reply

    def cookies(reply: dict[str, Any]) -> str:
        return "; ".join(value.decode().partition(";")[0] for name, value in reply["headers"] if name == b"Set-Cookie")

    csrf = cookies(ask("/admin/login/"))
    token = csrf.partition("=")[2]
    body = f"csrfmiddlewaretoken={token}&username=staff&password=secret&next=/admin/".encode()
    assert ask("/admin/login/", "POST", body)["status"] == 403
    login = ask("/admin/login/", "POST", body, csrf)
    assert login["status"] == 302
    index = ask("/admin/", cookie=cookies(login))
    assert index["status"] == 200
    assert b"Site administration" in index["content"]


def test_a_handler_of_a_1x_project_may_have_an_init_of_its_own(sent: list[Any]) -> None:
    class OwnHandler(AsgiHandler):
        def __init__(self) -> None:  # without super(), as it did for Channels 1.x
            self.load_middleware()

        def get_response(self, request: Any) -> HttpResponse:
            return HttpResponse(b"mine")

    assert [reply["content"] for reply in OwnHandler()(message())] == [b"mine"]
    assert sent == [("started", OwnHandler, b"/test/"), ("finished", OwnHandler)]
