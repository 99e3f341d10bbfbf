"""Adaptor of uvicorn's HTTP protocol, with strict parsing and limits on the size and the speed of requests.

The extension `channels_classic.raw` offers the application functions that ASGI lacks: `watch` reports a client that
leaves without a task waiting for it, until `unwatch`; `abort` closes the connection at once, and `can_reset` tells
whether the client sees that. `stream` gives the connection to a response without end. `limits` and `connect_rate` are
those of the server.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..config import ClientLimits
from ..error_pages import refusal
from . import request_limits
from .closing import close_in_time
from .connect_rate import ConnectRate
from .connection_reset import can_reset, reset_on_close
from .half_close import keep
from .request_limits import BodyRate, Refused, RequestLimits, RequestPart
from .request_syntax import check_headers, check_request_line, origin_form, status_of_error
from .server_state import ServerState
from .stream_protocol import StreamProtocol
from .unchunked import unchunked
from .unread import Unread
from .websocket_handshake import Handshake, check_request, read_handshake, websocket_scope
from .websocket_protocol import WebSocketProtocol

logger = logging.getLogger("channels_classic.interface_server")

MAX_PIPELINED = 100
"""Requests of one connection that may wait for those before them."""

REFUSAL_LINGER = 1.0
"""Seconds between an error response and the close: an immediate close could discard the response on its way."""

MAX_IGNORED = 1024 * 1024
"""Bytes that are read and ignored, after a refusal or behind a request for another protocol, before the close."""

_UPGRADE = re.compile(rb"^upgrade:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


class _UpgradeWithBody(Exception):
    """Raised for a request that offers another protocol and has a body."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    server_state: ServerState
    _watcher: Callable[[], None] | None = None  # of the class: a request may end after `_upgrade` cleared the instance

    def __init__(
        self, *args: Any, limits: ClientLimits | None = None, rate: ConnectRate | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._connect_rate = rate
        self._limits = limits or ClientLimits()
        self._extensions: dict[str, dict[object, object]] = {
            "channels_classic.raw": {
                "watch": self.watch,
                "unwatch": self.unwatch,
                "abort": self.abort,
                "can_reset": self.can_reset,
                "stream": self.stream,
                "limits": self._limits,
                "connect_rate": rate,
            }
        }
        self._running: Any = None
        self._requests = RequestLimits(self._limits)
        self._rate = BodyRate(self._limits)
        self._unread = Unread()
        self._handshake: Handshake | None = None
        self._ignores_input = False
        self._ignored = 0
        self._timer: asyncio.TimerHandle | None = None

    # The extension for the application

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` when the client leaves, or soon if it has left already."""
        self._watcher = watcher
        if self._running.disconnected:
            asyncio.get_running_loop().call_soon(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Stop calling `watcher`. By now the next pipelined request may watch in its place."""
        if self._watcher == watcher:
            self._watcher = None

    def abort(self) -> None:
        """Cut the connection off, without further data.

        It is reset: a response that ends with its connection (RFC 9112, section 6.3) would look complete otherwise.
        """
        reset_on_close(self.transport)
        self.transport.abort()

    def can_reset(self) -> bool:
        """Return whether the client can tell a connection that is cut off from one that ends."""
        return can_reset(self.transport)

    def stream(self, on_shutdown: Callable[[], None]) -> StreamProtocol:
        """Give the connection to the response under way, which has not begun, as the last one of the connection.

        Like a WebSocket it stays open for long, so everything that this object no longer needs is freed.
        """
        cycle, transport, state = self._running, self.transport, self.server_state
        stream = StreamProtocol(state, transport, cycle, on_shutdown)
        if not cycle.disconnected:
            self._stop_clock()
            self._unset_keepalive_if_required()
            self.connections.discard(self)
            stream.take_over(self.config.ws_ping_interval, self.config.ws_ping_timeout)
            self.__dict__.clear()
        return stream

    def finish(self) -> None:
        """Let the request under way be the last; the first one of a connection may still come."""
        if self.cycle is not None:
            self.shutdown()

    def give_up_body(self) -> None:
        """Answer 503 to a request whose body is still to come: the server stops, and no worker has heard of it."""
        if self._requests.part is RequestPart.BODY and not self.cycle.response_started:
            self._refuse(503)

    # The connection

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._admit()
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the lost connection to the request being answered; uvicorn reports it only to the last pipelined."""
        self._stop_clock()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        if self._watcher is not None and self._running is not None and self._running.disconnected:
            self._watcher()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes the connection
        """Handle the end of what the client sends. Return True to answer its request all the same."""
        return self._requests.part is RequestPart.NONE and not self.pipeline and keep(self.transport, self._running)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if app is not self.app:  # uvicorn's own answer to one connection too many
            self._count_refusal(503)
        super()._start_asgi_task(cycle, unchunked(cycle, app) if cycle.scope["http_version"] == "1.0" else app)

    def on_response_complete(self) -> None:
        """Continue with the next request, or close; uvicorn has called `close` by now if there is none."""
        super().on_response_complete()
        if self.transport.is_closing():
            close_in_time(self.transport)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        close_in_time(self.transport)

    def data_received(self, data: bytes) -> None:
        """Parse the data and enforce the limits."""
        if self._ignores_input:
            self._ignore(data)
            return
        self._unset_keepalive_if_required()
        self._unread.add(data)
        try:
            self.parser.feed_data(data)
            self._requests.received(len(data))
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _UpgradeWithBody):
                self._parse_without_upgrade()
            else:
                self._refuse(self._status_of(error))
        except Refused as refusal:
            self._refuse(refusal.status)
        else:
            self._after_read(len(data))

    def _parse_without_upgrade(self) -> None:
        """Parse a request again, without the protocol that it offers: a server may ignore it (RFC 9110, section 7.8).

        Some clients offer HTTP/2 with the first request of every connection. The parser takes what follows such a
        request for data of the other protocol, and would drop its body.
        """
        head, rest = self._unread.split_head()
        self._unread.clear()
        self.parser = _new_parser(self)
        self.data_received(_UPGRADE.sub(b"", head) + rest)

    def _after_read(self, size: int) -> None:
        part = self._requests.part
        if part is RequestPart.NONE:
            self._unread.clear()
        else:
            self._unread.trim()
        if pause := self._requests.pause():
            self.transport.pause_reading()
            self.loop.call_later(pause, self._read_on)
        self._rate.received(size, paused=self.flow.read_paused)
        owes = part is not RequestPart.NONE or self.cycle is None or self.cycle.response_complete
        if not owes:
            self._stop_clock()
        elif self._timer is None:
            self._start_clock()

    def _read_on(self) -> None:
        is_left = not self.__dict__  # to another protocol
        if not is_left and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _status_of(self, error: httptools.HttpParserError) -> int:
        reason = error.__context__  # what a callback raised
        if isinstance(reason, Refused):
            return reason.status
        if self._requests.part is RequestPart.BODY:
            return 400
        invalid_method = isinstance(error, httptools.HttpParserInvalidMethodError)
        return status_of_error(self._unread.head, invalid_method=invalid_method)

    def _ignore(self, data: bytes) -> None:
        self._ignored += len(data)
        if self._ignored > MAX_IGNORED:
            self.abort()

    # The parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._requests.begin()

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target."""
        super().on_url(url)
        self._requests.target(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; after the head it is a trailer, which is ignored."""
        self._requests.header(name, value)
        if self._requests.part is RequestPart.HEAD:
            super().on_header(name, value)
        else:
            self._unread.skip_line()

    def on_headers_complete(self) -> None:
        """Check the complete head."""
        self._check_head()
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1: its client takes `100` for the response
        super().on_headers_complete()
        if self.url == b"*":
            self.scope["path"], self.scope["raw_path"] = "*", b"*"
        self._requests.begin_body()
        self._rate.restart()
        self._stop_clock()

    def on_chunk_header(self) -> None:
        """Count a chunk."""
        self._unread.skip_line()
        self._requests.chunk()

    def on_chunk_complete(self) -> None:
        """Note the end of a chunk; that of the last one is the empty line behind the trailers."""
        self._unread.skip_line()

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        self._unread.skip(len(body))
        used = self.cycle is not None and not self.cycle.response_complete
        if self._requests.body(len(body), used=used):
            super().on_body(body)
        else:
            self._ignores_input = True
            close_in_time(self.transport)

    def _check_head(self) -> None:
        """Raise `Refused` for a request that is invalid, or one too many."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        check_request_line(self._unread.take_head(), method, self.url, version)
        check_headers(self.headers, version)
        self.url = origin_form(method, self.url, self.headers)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refused(429)
        self._admit()
        if not self.parser.should_upgrade():
            return
        if self._should_upgrade():
            self._handshake = self._read_handshake()
        elif any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            raise _UpgradeWithBody

    def _admit(self) -> None:
        """Exempt this connection from the limit, for good, if it is not one too many.

        uvicorn compares at each request, and counts the connection that asks: it would refuse the last that may be
        served, and those served before when another one comes.
        """
        if self.limit_concurrency is not None and len(self.connections) <= self.limit_concurrency:
            self.limit_concurrency = None

    def _read_handshake(self) -> Handshake:
        """Return the handshake that the request is. Raises `Refused` if it is not valid, or one too many."""
        if self.cycle is not None and not self.cycle.response_complete:
            raise Refused(400)  # the previous request still uses the connection
        check_request(self.parser.get_method(), self.parser.get_http_version(), self.headers)
        if self.limit_concurrency is not None:
            raise Refused(503)  # uvicorn applies the limit to requests only
        return read_handshake(self.headers, compression=self.config.ws_per_message_deflate)

    def on_message_complete(self) -> None:
        """End the request."""
        super().on_message_complete()
        self._requests.end()

    def _upgrade(self, rest: bytes) -> None:
        """Switch to the WebSocket protocol, if asked for; `rest` is data that follows the request."""
        self._stop_clock()
        self._ignores_input = True
        if self._handshake is not None:
            self.connections.discard(self)
            scope = websocket_scope(dict(self.scope), self.url, self._handshake.subprotocols)
            websocket = WebSocketProtocol(
                self.config, self.server_state, self.transport, scope, self._handshake, self._connect_rate
            )
            self.transport.set_protocol(websocket)
            if rest:
                websocket.data_received(rest)
            self.__dict__.clear()  # no longer used, and full of cycles: three kilobytes of garbage per socket
        else:
            # Answered as HTTP. What follows may be its body or another request, so it is not read.
            self.cycle.keep_alive = False

    # Slow clients and invalid requests

    def _start_clock(self) -> None:
        in_body = self._requests.part is RequestPart.BODY
        seconds = request_limits.RATE_INTERVAL if in_body else self._limits.head_timeout
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        part = self._requests.part
        if part is RequestPart.BODY and self._rate.sufficient(paused=self.flow.read_paused):
            self._rate.restart()
            self._start_clock()
        elif part is RequestPart.NONE:
            close_in_time(self.transport)
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer an invalid request with `status` if it is its turn, and ignore further input."""
        logger.debug("Refused a request of %s with status %d.", self.client, status)
        self._count_refusal(status)
        self._ignores_input = True
        self._stop_clock()
        cycle = self.cycle
        if self.pipeline and self._requests.part is RequestPart.BODY:
            self.abort()  # its turn would come, but the rest of its body never
        elif cycle is not None and not cycle.response_complete and self._requests.part is not RequestPart.BODY:
            last = self.pipeline[0][0] if self.pipeline else cycle
            last.keep_alive = False
        elif cycle is not None and cycle.response_started and not cycle.response_complete:
            self.abort()
        else:
            self._answer(status)

    def _count_refusal(self, status: int) -> None:
        self.server_state.refused[status] += 1

    def _answer(self, status: int) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(refusal(status))
        if transport.can_write_eof():
            transport.write_eof()
            self.loop.call_later(REFUSAL_LINGER, close_in_time, transport)
        else:
            close_in_time(transport)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


def _new_parser(protocol: HttpToolsProtocol) -> Any:
    """Return a parser, set up as uvicorn does it."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
