"""Logs for machines, one id from the access log to the consumer, and traces."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from channels_classic import route
from channels_classic._current import current_message
from channels_classic.exceptions import DenyConnection
from channels_classic.interface_server.access_log import FORMATS, AccessLog
from channels_classic.interface_server.asgi import trace_context
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.log import JSONFormatter, MessageFilter
from channels_classic.message import Message
from tests.interface_server.live import live
from tests.interface_server.server.test_program import interface, status_of
from tests.support.commands import run_command
from tests.support.processes import Process
from tests.support.running_site import FOLDER, RunningSite
from tests.support.waiting import eventually
from tests.worker.harness import make_worker, running

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"


# The access log


def line(style: str, protocol: str, action: str, **details: object) -> str:
    stream = io.StringIO()
    common = {"client": "10.0.0.1:5", "id": "f00", "http_version": "1.1"}
    headers = {"referer": "/from", "user_agent": 'Mozilla "5.0"\n'}
    AccessLog(stream, style)(protocol, action, {"path": "/a?b", **common, **headers, **details})
    return stream.getvalue()


def test_common_and_combined_lines_end_with_the_seconds_and_the_id() -> None:
    details: dict[str, Any] = {"method": "GET", "status": 200, "size": 5, "time_taken": 0.0123}
    date = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    common = rf'10\.0\.0\.1 - - {date} "GET /a\?b HTTP/1\.1" 200 5'
    assert re.fullmatch(rf"{common} 0\.012 f00\n", line("common", "http", "complete", **details))
    combined = line("combined", "http", "complete", **details)
    assert re.fullmatch(rf'{common} "/from" "Mozilla \\"5\.0\\"\\n" 0\.012 f00\n', combined)


def test_a_line_of_json_has_all_of_it() -> None:
    written = json.loads(line("json", "http", "complete", method="GET", status=200, size=5, time_taken=0.0123))
    assert written.pop("time").startswith("20")
    assert written == {
        "client": "10.0.0.1:5",
        "method": "GET",
        "path": "/a?b",
        "protocol": "HTTP/1.1",
        "status": 200,
        "size": 5,
        "seconds": 0.0123,
        "request_id": "f00",
        "referer": "/from",
        "user_agent": 'Mozilla "5.0"\n',
    }


@pytest.mark.parametrize("style", sorted(FORMATS))
def test_every_format_is_one_line_for_every_stage_and_client(style: str) -> None:
    for client in ("[::1]:80", None):
        for action in ("connecting", "connected", "rejected", "disconnected"):
            written = line(style, "websocket", action, client=client)
            assert written.count("\n") == 1
            assert "WS" in written
            assert "::1" in written or "unix" in written


@pytest.mark.parametrize("style", ["combined", "json"])
def test_the_program_writes_the_format_that_is_asked_for(tmp_path: Path, free_port: int, style: str) -> None:
    options = ("--health-path", "/healthz", "--access-log", "-", "--access-log-format", style)
    with interface(tmp_path, free_port, *options) as program:
        eventually(lambda: status_of(free_port) == 200)
        program.wait_for_line(
            '"status": 200' if style == "json" else r'"GET /healthz HTTP/1.1" 200 3 "-" "-" 0\.\d{3} '
        )


def test_a_format_that_there_is_not_is_named() -> None:
    command = run_command(["manage.py", "runinterface", "--access-log-format", "apache"], FOLDER, {})
    assert command.status == 1
    assert "--access-log-format is 'apache': expected one of daphne, common, combined, json" in command.output


# The log


def test_a_record_is_a_line_of_json_with_its_extra_and_its_traceback() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("site", logging.ERROR, "", 0, "two\n%s", ("lines",), sys.exc_info())
    record.words = {1}
    written = JSONFormatter().format(record)
    assert "\n" not in written
    found = json.loads(written)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "site", "two\nlines")
    assert found["words"] == "{1}"
    assert found["exception"].endswith("ValueError: wrong")
    assert "request_id" not in found


class Unprintable:
    def __repr__(self) -> str:
        raise TypeError("no text")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        ({("a", 1): 2}, "{('a', 1): 2}"),
        (Unprintable(), "<Unprintable>"),
        ([Unprintable()], "<list>"),
        (b"\xff\n", "b'\\xff\\n'"),
    ],
)
def test_a_record_with_a_value_that_json_cannot_hold_is_a_line_all_the_same(value: object, shown: str) -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "it\nworks", None, None)
    record.extra_value = value
    fields = json.loads(JSONFormatter().format(record))
    assert (fields["message"], fields["extra_value"]) == ("it\nworks", shown)


def test_a_record_with_a_value_that_contains_itself_is_a_line_all_the_same() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "it works", None, None)
    record.extra_value = loop = {}  # type: ignore[var-annotated]
    loop["itself"] = loop
    assert json.loads(JSONFormatter().format(record))["extra_value"] == "{'itself': {...}}"


def test_the_filter_gives_every_record_its_fields() -> None:
    record = logging.LogRecord("site", logging.INFO, "", 0, "hello", (), None)
    assert MessageFilter().filter(record)
    assert (vars(record)["request_id"], vars(record)["channel"], vars(record)["trace_id"]) == ("", "", "")
    message = Message({"reply_channel": "inbox!f00", "traceparent": PARENT}, "websocket.receive", None)
    token = current_message.set(message)
    try:
        MessageFilter().filter(record)
    finally:
        current_message.reset(token)
    assert vars(record)["request_id"] == "f00"
    assert vars(record)["channel"] == "websocket.receive"
    assert vars(record)["trace_id"] == TRACE


def records(program: Process, text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in program.output.splitlines() if line.startswith("{")]
    return [record for record in found if text in record.get("message", record.get("path", ""))]


@pytest.mark.parametrize("path", ["/room/log", "/room/log-async"])
def test_a_socket_has_one_id_in_the_access_log_and_in_the_log_of_consumers(redis_url: str, path: str) -> None:
    async def talk(site: RunningSite) -> str:
        async with site.socket(path) as websocket:
            await websocket.send("two words")
            return str(await websocket.recv())

    site = RunningSite(redis_url, workers=1, options=("--access-log", "-", "--access-log-format", "json"))
    site.environment["LOG_FORMAT"] = "json"
    with site:
        name = asyncio.run(talk(site))
        worker = site.workers[0]
        (record,) = eventually(lambda: records(worker, "said two words"))
        assert (record["request_id"], record["channel"], record["words"]) == (name, "websocket.receive", 2)
        eventually(lambda: "WSDISCONNECT" in site.interface.output)
        assert {line["request_id"] for line in records(site.interface, path)} == {name}


# Trace context


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        ([(b"traceparent", PARENT.encode())], {"traceparent": PARENT}),
        (
            [(b"traceparent", PARENT.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")],
            {"traceparent": PARENT, "tracestate": "a=1,b=2"},
        ),
        ([(b"tracestate", b"a=1")], {}),
        ([(b"traceparent", PARENT.encode())] * 2, {}),
        ([(b"traceparent", PARENT.upper().encode())], {}),
        ([(b"traceparent", b"00-x-y-01")], {}),
        ([(b"traceparent", PARENT.encode()), (b"tracestate", b"x" * 513)], {"traceparent": PARENT}),
        ([(b"traceparent", PARENT.encode()), (b"tracestate", b"\xff")], {"traceparent": PARENT}),
    ],
)
def test_a_trace_context_is_passed_on_if_it_is_valid(
    headers: list[tuple[bytes, bytes]], expected: dict[str, str]
) -> None:
    assert trace_context(headers) == expected


def test_all_messages_of_a_socket_and_a_request_carry_the_trace_context() -> None:
    with live() as server:
        with server.websocket("/", additional_headers={"traceparent": PARENT, "tracestate": "a=1"}) as client:
            client.send("hello")
            received = server.consume("websocket.receive")
        messages = [received, server.consume("websocket.disconnect")]
        connection = server.http()
        connection.request("GET", "/", headers={"traceparent": PARENT, "tracestate": "a=1"})
        messages.append(server.consume("http.request", {"status": 200}))
        connection.getresponse().read()
        connection.close()
        for content in messages:
            message = Message(content, "x", None)
            assert message.trace_context == {"traceparent": PARENT, "tracestate": "a=1"}
            assert content["reply_channel"].endswith(f"!{message.request_id}")
        with server.websocket("/") as client:
            client.send("hello")
            assert server.consume("websocket.receive").keys() == {"reply_channel", "path", "order", "text"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The spans of this process, in a provider of this test."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def consume(layer: BaseChannelLayer, routing: list[Any], channel: str, content: dict[str, Any]) -> None:
    """Let a worker consume one message."""
    done: list[None] = []
    worker = make_worker(layer, [*routing, route("done", lambda message: done.append(None))])
    layer.send(channel, content)
    with running(worker):
        eventually(lambda: layer.channel_statistics(channel)["messages_pending"] == 0)
        layer.send("done", {})
        eventually(lambda: done)


def sync_consumer(message: Message) -> None:
    inside(message)


async def async_consumer(message: Message) -> None:
    inside(message)


def inside(message: Message) -> None:
    from opentelemetry import trace

    trace.get_tracer("project").start_span("work of the project").end()
    if message.get("fail"):
        raise RuntimeError("it failed")
    if message.get("deny"):
        raise DenyConnection


@pytest.mark.parametrize("consumer", [sync_consumer, async_consumer])
def test_a_consumer_is_a_span_of_the_request_that_caused_it(spans: Any, consumer: Any) -> None:
    content = {"reply_channel": "inbox.v1!f00", "traceparent": PARENT}
    consume(ChannelLayer(), [route("work", consumer)], "work", content)
    eventually(lambda: {"process work", "work of the project"} <= {span.name for span in spans.get_finished_spans()})
    by_name = {span.name: span for span in spans.get_finished_spans()}
    work, process = by_name["work of the project"], by_name["process work"]
    assert f"{process.context.trace_id:032x}" == TRACE
    assert f"{process.parent.span_id:016x}" == "b7ad6b7169203331"
    assert process.kind.name == "CONSUMER"
    assert process.attributes["messaging.destination.name"] == "work"
    assert process.attributes["messaging.message.conversation_id"] == "f00"
    assert process.attributes["code.function.name"].endswith(consumer.__name__)
    assert process.status.is_ok or process.status.is_unset
    assert work.parent.span_id == process.context.span_id


@pytest.mark.parametrize("consumer", [sync_consumer, async_consumer])
@pytest.mark.parametrize(("key", "is_error"), [("fail", True), ("deny", False)])
def test_an_exception_makes_it_an_error_and_a_refusal_does_not(
    spans: Any, consumer: Any, key: str, is_error: bool
) -> None:
    consume(ChannelLayer(), [route("websocket.connect", consumer)], "websocket.connect", {key: True})
    process = eventually(lambda: [span for span in spans.get_finished_spans() if span.name.startswith("process w")])[0]
    assert process.parent is None
    assert (process.status.status_code.name == "ERROR") is is_error
    assert [event.name for event in process.events] == (["exception"] if is_error else [])


def test_without_a_provider_a_consumer_is_called_as_it_is() -> None:
    from channels_classic.worker.tracing import tracing_of_this_process

    tracing = tracing_of_this_process()
    assert tracing is None or not tracing.is_used


def test_a_message_without_a_client_has_no_id() -> None:
    assert Message({}, "x", None).request_id == ""
