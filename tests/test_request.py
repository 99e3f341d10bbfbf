"""`AsgiRequest`: a request message as the `HttpRequest` of Django."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse, QueryDict
from django.middleware.csrf import CsrfViewMiddleware
from django.test import override_settings
from django.utils.datastructures import MultiValueDict

from channels_classic import Channel
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import RequestAborted, RequestTimeout, ResponseLater
from channels_classic.handler import AsgiRequest
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import Message

MULTIPART = (
    b"--BOUNDARY\r\n"
    b'Content-Disposition: form-data; name="title"\r\n\r\n'
    b"My First Book\r\n"
    b"--BOUNDARY\r\n"
    b'Content-Disposition: form-data; name="pdf"; filename="book.pdf"\r\n\r\n'
    b"FAKEPDFBYTESGOHERE"
    b"\r\n--BOUNDARY--"
)


def request(*, layer: Any = "a layer", request_class: type[AsgiRequest] = AsgiRequest, **content: Any) -> AsgiRequest:
    content = {"reply_channel": "reply!x", "path": "/test/", "method": "GET", **content}
    return request_class(Message(content, "http.request", layer))


def form(body: bytes, content_type: bytes = b"application/x-www-form-urlencoded", **content: Any) -> AsgiRequest:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    return request(**{"method": "POST", "headers": headers, "body": body, **content})


# What a message says


def test_a_minimal_message_is_a_request_for_nothing_more() -> None:
    got = request()
    assert (got.path, got.path_info, got.script_name, got.method) == ("/test/", "/test/", "", "GET")
    assert got.body == b""
    assert not got.GET
    assert not got.POST
    assert not got.FILES
    assert not got.COOKIES
    assert not {"HTTP_HOST", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT"} & set(got.META)
    assert (got.META["SERVER_NAME"], got.META["SERVER_PORT"]) == ("unknown", "0")
    assert got.META["wsgi.multithread"] is got.META["wsgi.multiprocess"] is True
    assert (got.content_type, got.content_params) == ("", {})
    assert got.resolver_match is None
    assert got.message["path"] == "/test/"
    assert str(got.reply_channel) == "reply!x"
    assert AsgiRequest.ResponseLater is ResponseLater


def test_a_full_message_fills_meta_query_and_cookies() -> None:
    got = request(
        method="get",
        path="/test2/",
        query_string=b"x=1&y=%26foo+bar%2Bbaz",
        headers={"host": b"example.com", "cookie": b"test-time=1448995585123; test-value=yeah", "x-a": b"b"},
        client=["10.0.0.1", 1234],
        server=["10.0.0.2", 80],
    )
    assert got.method == "GET"
    assert got.META["REQUEST_METHOD"] == "GET"
    assert got.META["PATH_INFO"] == "/test2/"
    assert got.META["HTTP_HOST"] == "example.com"
    assert got.META["HTTP_X_A"] == "b"
    assert got.META["QUERY_STRING"] == "x=1&y=%26foo+bar%2Bbaz"
    assert (got.META["REMOTE_ADDR"], got.META["REMOTE_HOST"], got.META["REMOTE_PORT"]) == ("10.0.0.1", "10.0.0.1", 1234)
    assert (got.META["SERVER_NAME"], got.META["SERVER_PORT"]) == ("10.0.0.2", "80")
    assert got.GET.dict() == {"x": "1", "y": "&foo bar+baz"}
    assert got.COOKIES == {"test-time": "1448995585123", "test-value": "yeah"}
    assert got.headers["Host"] == "example.com"


def test_headers_given_as_a_dict_are_written_back_as_pairs() -> None:
    got = request(headers={"host": b"example.com", "x-name": "caf\xe9"})
    assert got.message["headers"] == [(b"host", b"example.com"), (b"x-name", b"caf\xe9")]
    assert got.META["HTTP_X_NAME"] == "caf\xe9"


def test_repeated_headers_are_joined_by_commas_and_cookies_by_semicolons() -> None:
    got = request(headers=[[b"x-a", b"1"], [b"cookie", b"a=1"], [b"x-a", b"2"], [b"cookie", b"b=2"]])
    assert got.META["HTTP_X_A"] == "1,2"
    assert got.COOKIES == {"a": "1", "b": "2"}


def test_headers_with_underscores_are_dropped() -> None:
    got = request(headers=[(b"x_user", b"admin"), (b"x-user", b"guest")])
    assert got.META["HTTP_X_USER"] == "guest"


def test_header_values_are_latin_1() -> None:
    assert request(headers=[(b"x-a", b"caf\xe9")]).META["HTTP_X_A"] == "café"


@pytest.mark.parametrize(
    ("path", "root_path", "path_info"),
    [
        ("/prefix/x", "/prefix", "/x"),
        ("/prefix/x", "/prefix/", "/x"),
        ("/prefix", "/prefix", "/"),
        ("/prefix/x", "/pr", "/prefix/x"),
        ("/other/", "/prefix", "/other/"),
        ("/x", "", "/x"),
        ("/x", None, "/x"),
    ],
)
def test_the_root_path_is_taken_off_at_a_slash_only(path: str, root_path: str | None, path_info: str) -> None:
    got = request(path=path, root_path=root_path)
    assert (got.path, got.path_info, got.script_name) == (path, path_info, root_path or "")
    assert (got.META["PATH_INFO"], got.META["SCRIPT_NAME"]) == (path_info, root_path or "")


@override_settings(FORCE_SCRIPT_NAME="/forced")
def test_the_setting_stands_in_for_a_root_path_that_the_message_lacks() -> None:
    assert request(path="/forced/x").path_info == "/x"
    assert request(path="/own/x", root_path="/own").path_info == "/x"


def test_a_path_in_bytes_is_kept_as_it_is() -> None:
    path: Any = request(path=b"/test/").path
    assert path == b"/test/"


@pytest.mark.parametrize(
    ("scheme", "seen", "secure"),
    [(None, "http", False), ("https", "https", True), ("ws", "ws", False), ("wss", "wss", False)],
)
def test_the_scheme_comes_from_the_message(scheme: str | None, seen: str, secure: bool) -> None:
    got = request(scheme=scheme)
    assert (got.scheme, got.is_secure()) == (seen, secure)


@pytest.mark.parametrize(("scheme", "port"), [("http", "80"), ("https", "443")])
def test_over_a_unix_socket_the_port_is_that_of_the_scheme(scheme: str, port: str) -> None:
    assert request(scheme=scheme).get_port() == port
    assert request(scheme=scheme, server=["10.0.0.2", 8000]).get_port() == "8000"


@override_settings(CSRF_COOKIE_DOMAIN=".example.com", ALLOWED_HOSTS=["www.example.com"])
def test_over_a_unix_socket_a_form_of_another_subdomain_may_be_sent() -> None:
    token = b"a" * 32
    headers = [
        (b"host", b"www.example.com"),
        (b"referer", b"https://forms.example.com/"),
        (b"cookie", b"csrftoken=" + token),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]
    post = request(method="POST", scheme="https", headers=headers, body=b"csrfmiddlewaretoken=" + token)
    middleware = CsrfViewMiddleware(view := lambda _: HttpResponse())
    middleware.process_request(post)
    assert middleware.process_view(post, view, (), {}) is None


def test_a_broken_escape_in_the_query_is_replaced_and_a_raw_one_refused() -> None:
    assert request(query_string=b"a=%ff").GET["a"] == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        request(query_string=b"a=\xff")


def test_setting_the_encoding_forgets_the_query_and_the_charset_is_taken_from_the_header() -> None:
    got = request(query_string=b"a=1", headers=[(b"content-type", b"text/plain; charset=latin-1")])
    assert got.encoding == "latin-1"
    assert got.GET["a"] == "1"
    got.encoding = "utf-8"
    assert got.GET["a"] == "1"
    assert request(headers=[(b"content-type", b"text/plain; charset=klingon")]).encoding is None


# Bodies


def test_a_form_is_parsed_and_apart_from_the_query() -> None:
    got = form(b"ponies=are+awesome", query_string="django=great")
    assert got.META["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    assert got.content_type == "application/x-www-form-urlencoded"
    assert got.body == b"ponies=are+awesome"
    assert got.GET.dict() == {"django": "great"}
    assert got.POST.dict() == {"ponies": "are awesome"}
    with pytest.raises(KeyError):
        got.POST["django"]


def test_a_body_may_follow_in_parts_and_later_messages_are_left_alone(default_layer: ChannelLayerWrapper) -> None:
    for content in ({"content": b"re=fou", "more_content": True}, {"content": b"r"}, {"content": b"later"}):
        Channel("http.request.body?x").send(content)
    got = form(b"there_a", layer=default_layer, body_channel="http.request.body?x")
    assert got.body == b"there_are=four"
    assert got.POST.dict() == {"there_are": "four"}
    assert default_layer.receive(["http.request.body?x"])[1] == {"content": b"later"}


def test_an_upload_in_parts_is_parsed(default_layer: ChannelLayerWrapper) -> None:
    Channel("body?x").send({"content": MULTIPART[:60], "more_content": True})
    Channel("body?x").send({"content": MULTIPART[60:], "more_content": False})
    headers = [(b"content-type", b"multipart/form-data; boundary=BOUNDARY"), (b"content-length", b"1000")]
    got = request(method="POST", headers=headers, layer=default_layer, body_channel="body?x")
    assert got.POST["title"] == "My First Book"
    upload = got.FILES["pdf"]
    assert isinstance(upload, UploadedFile)
    assert upload.read() == b"FAKEPDFBYTESGOHERE"
    assert not got._post_parse_error
    assert got.body == MULTIPART
    got.close()
    assert upload.closed


def test_a_last_part_without_content_ends_the_body(default_layer: ChannelLayerWrapper) -> None:
    Channel("body?x").send({"content": b"b", "more_content": True})
    Channel("body?x").send({})
    assert request(layer=default_layer, body=b"a", body_channel="body?x").body == b"ab"


def test_the_body_can_be_read_as_a_stream_and_stays_available() -> None:
    got = request(method="PUT", body=b"onetwothree")
    assert got.read(3) == b"one"
    assert got.read() == b"twothree"
    assert got.body == b"onetwothree"
    assert request(method="PUT", body=b"a\nb").readlines() == [b"a\n", b"b"]


def test_a_form_can_be_parsed_after_the_body_was_read() -> None:
    got = form(b"a=1")
    assert got.read() == b"a=1"
    assert got.POST["a"] == "1"
    assert form(MULTIPART, b"multipart/form-data; boundary=BOUNDARY").FILES["pdf"]


def test_files_cannot_be_assigned_but_a_form_can() -> None:
    got = form(b"a=1")
    with pytest.raises(AttributeError):
        got.FILES = MultiValueDict()
    got.POST = QueryDict("b=2")
    assert got.POST["b"] == "2"


def test_what_another_parser_has_set_is_not_parsed_again() -> None:
    got = form(MULTIPART, b"multipart/form-data; boundary=BOUNDARY")
    assert got.FILES["pdf"]
    del got._post
    assert got.POST.dict() == {}
    assert got.FILES["pdf"]
    got = form(MULTIPART, b"multipart/form-data; boundary=BOUNDARY")
    got._post = QueryDict("a=1")
    assert not got.FILES


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=5)
def test_a_body_larger_than_django_allows_is_refused_when_it_is_looked_at() -> None:
    got = form(b"a=12345")
    with pytest.raises(RequestDataTooBig):
        got.body  # noqa: B018
    with pytest.raises(RequestDataTooBig):
        form(b"a=12345").POST  # noqa: B018
    assert form(b"a=123").POST["a"] == "123"


def test_a_body_that_is_no_bytes_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="str"):
        request(body="text")


class HurriedRequest(AsgiRequest):
    body_receive_timeout = 0


def test_a_body_that_does_not_end_in_time_is_a_timeout(default_layer: ChannelLayerWrapper) -> None:
    Channel("body?x").send({"content": b"a", "more_content": True})
    with pytest.raises(RequestTimeout):
        request(layer=default_layer, request_class=HurriedRequest, body_channel="body?x")


def test_a_client_that_goes_away_aborts_the_request(default_layer: ChannelLayerWrapper) -> None:
    Channel("body?x").send({"content": b"a", "more_content": True})
    Channel("body?x").send({"closed": True})
    with pytest.raises(RequestAborted):
        request(layer=default_layer, body_channel="body?x")


class ImpatientLayer(ChannelLayer):
    """A layer that ignores `block`, which layers may."""

    def receive(self, channels: Any, block: bool = False) -> Any:
        received = super().receive(channels, block=False)
        if received == (None, None):
            super().send(channels[0], {"content": b"late"})
        return received


def test_a_layer_that_does_not_block_is_asked_again() -> None:
    assert request(layer=ImpatientLayer(), body_channel="body?x").body == b"late"


def test_a_chunked_form_is_parsed_since_its_length_is_known() -> None:
    headers = [(b"content-type", b"multipart/form-data; boundary=BOUNDARY"), (b"transfer-encoding", b"chunked")]
    got = request(method="POST", headers=headers, body=MULTIPART)
    assert got.META["CONTENT_LENGTH"] == str(len(MULTIPART))
    assert got.POST["title"] == "My First Book"
    assert got.FILES["pdf"].read() == b"FAKEPDFBYTESGOHERE"


@pytest.mark.parametrize(
    "value",
    [
        "text/plain; x*=bogus''%41",
        # Codecs that decode no text, and those that raise for bytes which others replace.
        *(f"multipart/form-data; boundary=B; charset={name}" for name in ("rot13", "idna", "undefined")),
    ],
)
def test_a_content_type_that_cannot_be_parsed_is_a_bad_request(value: str) -> None:
    with pytest.raises(BadRequest, match="Content-Type"):
        request(headers=[(b"content-type", value.encode())])
