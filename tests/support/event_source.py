"""A client of event streams for tests: reads a response as WHATWG HTML, section 9.2.6, tells browsers to."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from tests.support.waiting import scaled

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT = 10.0


@dataclass(frozen=True)
class Event:
    """An event as a page gets it."""

    data: str
    name: str = "message"


class StreamParser:
    """Section 9.2.6, line by line. Feed it bytes; `events` are those that were dispatched."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._rest = b""
        self._clear()

    def _clear(self) -> None:
        self._data, self._name = "", ""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "strict"))

    def _line(self, line: str) -> None:
        if not line:
            if self._data:
                self.events.append(Event(self._data.removesuffix("\n"), self._name or "message"))
            self._clear()
            return
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if colon and not field:
            self.comments += 1
        elif field == "event":
            self._name = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self.last_event_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)


class EventSource:
    """One open stream: `with EventSource(port, "/room") as source:`."""

    def __init__(self, port: int, path: str = "/", headers: dict[str, str] | None = None) -> None:
        self.path = path
        self._port = port
        self.parser = StreamParser()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(TIMEOUT))
        self._connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {})})
        self._taken = 0
        self.token = ""

    def open(self) -> Self:
        """Wait for the response, and for the token."""
        self.response = self._connection.getresponse()
        self.status = self.response.status
        if self.status == 200:
            first = self.next()
            assert first.name == "token", first
            self.token = first.data
        return self

    __enter__ = open

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        if hasattr(self, "response"):
            self.response.close()

    def read(self) -> bool:
        """Read on; return False at the end of the stream."""
        data = self.response.read1(65536)
        self.parser.feed(data)
        return bool(data)

    def next(self) -> Event:
        """Return the next event."""
        while len(self.parser.events) == self._taken:
            assert self.read(), "the stream has ended"
        self._taken += 1
        return self.parser.events[self._taken - 1]

    def rest(self) -> list[Event]:
        """Return the events up to the end of the stream."""
        while self.read():
            pass
        found = self.parser.events[self._taken :]
        self._taken = len(self.parser.events)
        return found

    def post(
        self, text: str | bytes, token: str | None = None, path: str | None = None, port: int | None = None
    ) -> int:
        """Send a message, over a connection of its own; return the status."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self._port, timeout=scaled(TIMEOUT))
        try:
            headers = {"Event-Stream-Token": self.token if token is None else token}
            body = text.encode() if isinstance(text, str) else text
            connection.request("POST", path or self.path, body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()
