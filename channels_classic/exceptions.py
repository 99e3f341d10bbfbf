"""All errors: those that consumers raise to control the worker, and those that this package raises.

Pure Python: the layers, the interface server and the worker import it, with or without Django. Errors keep their
facts as attributes and build the sentence from them, and inherit the built-in class that a caller would already
catch.
"""

from __future__ import annotations

import errno
from typing import Any

# Raised by code of the project to control the worker or the handling of a view.


class ConsumeLater(Exception):
    """Raised when a consumer asks for its message to be put back at the end of its channel and consumed later."""


class DenyConnection(Exception):
    """Raised when a `websocket.connect` consumer refuses the handshake."""


class ResponseLater(Exception):
    """Raised when a Django view returns no response now, because another sender will send one to its reply channel."""


class ChannelSocketException(Exception):
    """Raised when a consumer asks for an action on its message: the worker calls `run(message)`."""

    def run(self, message: Any) -> None:
        """Act on `message`; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} must define run(message).")


class WebsocketCloseException(ChannelSocketException):
    """Raised when a consumer closes its WebSocket, after the frames it has sent.

    `code` is `None` (a normal close), 1000, or 3000 to 4999: the codes RFC 6455, section 7.4 leaves to
    applications. Raises `ValueError` for any other.
    """

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        if code is not None and not _is_application_close_code(code):
            raise ValueError(
                f"The close code {code!r} is not allowed: use None, 1000, or an integer from 3000 to 4999."
            )
        self._code = code

    def run(self, message: Any) -> None:
        """Send the close to the reply channel of `message`."""
        if message.reply_channel is None:
            raise ValueError(
                "WebsocketCloseException was raised for a message without a reply channel: "
                "only consumers of websocket.* channels have a socket to close."
            )
        message.reply_channel.send({"close": self._code or True})


class SendNotAvailableOnDemultiplexer(Exception):
    """Raised when a demultiplexer is asked to send: only its multiplexed streams can."""


# Raised by the request object while it reads a body.


class RequestTimeout(Exception):
    """Raised when no further part of a request's body arrived for `body_receive_timeout` seconds."""


class RequestAborted(Exception):
    """Raised when a body cannot be read any more, or a response not sent, because the client is gone."""


# Raised by this package.


class ChannelsError(Exception):
    """Raised when this package fails: the base class of all errors that it defines."""

    # KeyError, which some subclasses inherit as well, would print the representation of the sentence.
    __str__ = BaseException.__str__


class InvalidChannelLayerError(ChannelsError, ValueError):
    """Raised when an entry of the `CHANNEL_LAYERS` setting cannot be used; `hint` is how to repair it."""

    def __init__(self, problem: str, hint: str = "", *, alias: str | None = None, key: str | None = None) -> None:
        super().__init__(f"{problem} {hint}".rstrip())
        self.problem = problem
        self.hint = hint
        self.alias = alias
        self.key = key


class UnknownChannelLayer(InvalidChannelLayerError, KeyError):
    """Raised when an alias is asked for that the `CHANNEL_LAYERS` setting does not define."""


class ChannelFull(ChannelsError):
    """Raised when a channel holds as many messages, or bytes, as it may; the message was not sent.

    Without `capacity` the first argument is taken as a ready sentence, as code written for Channels 1.x raises it.
    """

    def __init__(self, channel: str = "The channel is full.", capacity: int | None = None) -> None:
        super().__init__(channel, capacity)
        self.channel = channel
        self.capacity = capacity

    def __str__(self) -> str:
        if self.capacity is None:
            return self.channel
        return (
            f"The channel {self.channel!r} is full: it holds its capacity of {self.capacity} messages, or 64 MiB. "
            "Run more workers for it, or raise `capacity` or `channel_capacity` in CHANNEL_LAYERS."
        )


class MessageTooLarge(ChannelsError, ValueError):
    """Raised when a message, once serialised, is larger than the layer carries; it was not sent. Sizes are in bytes."""

    def __init__(
        self, channel: str = "The message is too large.", size: int = 0, limit: int = 0, largest: str = ""
    ) -> None:
        super().__init__(channel, size, limit, largest)
        self.channel = channel
        self.size = size
        self.limit = limit
        self.largest = largest
        """The representation of its largest key; empty if that is not known."""

    def __str__(self) -> str:
        if not self.limit:
            return self.channel
        largest = f" Its largest key is {self.largest}." if self.largest else ""
        return (
            f"The message for {self.channel!r} has {self.size} bytes, the layer carries at most {self.limit}: "
            f"send it in parts, or store the data elsewhere and send where it is.{largest}"
        )


_NAME_GRAMMAR = "ASCII letters, digits, '-', '_' and '.', at most 100 characters"


class _InvalidName(ChannelsError, TypeError):
    """Raised when a name breaks the grammar of its kind."""

    kind = "name"
    expected = _NAME_GRAMMAR

    def __init__(self, name: object, reason: str | None = None) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.name!r} is not a valid {self.kind} name{reason}: expected text of {self.expected}."


class InvalidChannelName(_InvalidName):
    """Raised when a channel name breaks the grammar, or cannot be used for what was asked."""

    kind = "channel"
    expected = f"{_NAME_GRAMMAR}, with one '?' or '!' in between at most"


class InvalidGroupName(_InvalidName):
    """Raised when a group name breaks the grammar."""

    kind = "group"
    expected = f"{_NAME_GRAMMAR}, without '?' and '!'"


class InvalidMessage(ChannelsError, TypeError, ValueError, AssertionError):
    """Raised when a message cannot be sent: it is not a dict, or holds a value that no layer carries."""

    def __init__(self, channel: str, reason: str, expected: str = "") -> None:
        super().__init__(channel, reason, expected)
        self.channel = channel
        self.reason = reason
        self.expected = expected

    def __str__(self) -> str:
        if self.expected:
            return f"The message for {self.channel!r} cannot be sent: {self.reason}. Expected {self.expected}."
        return (
            f"The message for {self.channel!r} cannot be sent: {self.reason}. Expected a dict with text keys "
            "whose values are bytes, str, int (64 bit), float, bool, None, lists and dicts."
        )


class InvalidPresence(ChannelsError, TypeError, ValueError):
    """Raised when `who` or `info` of a member of a group is not of the right kind or size."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Cannot say who a member of a group is: {problem}.")


class LayerUnavailable(ChannelsError, ConnectionError):
    """Raised when the layer cannot be reached.

    With `written` steps had been written: whether they were carried out is unknown, and they must not be sent again.
    Without it there was no connection yet, and nothing happened.
    """

    def __init__(self, where: str, reason: str, next_step: str) -> None:
        super().__init__(where, reason, next_step)
        self.written = True
        self.where = where
        self.reason = reason
        self.next_step = next_step

    def __str__(self) -> str:
        return f"The channel layer at {self.where} cannot be reached: {self.reason}. {self.next_step}"


class StepRefused(ChannelsError):
    """Raised when the layer answered that it did not do something; nothing was written.

    `again` is true when the reason is gone by now: the same may be tried once more at once. `unknown` is true when
    the layer is served by an earlier release, which does not know what it was asked for. `foreign` is true when
    something else has written to a key of the layer: the refusal lasts until that key is deleted.
    """

    def __init__(
        self,
        where: str,
        reason: str,
        next_step: str = "",
        *,
        again: bool = False,
        unknown: bool = False,
        foreign: bool = False,
    ) -> None:
        super().__init__(where, reason, next_step)
        self.where = where
        self.reason = reason
        self.next_step = next_step
        self.again = again
        self.unknown = unknown
        self.foreign = foreign

    def __str__(self) -> str:
        return (
            f"The channel layer at {self.where} refused: {self.reason.rstrip('.')}. Nothing was written. "
            f"{self.next_step or 'Look into the log of the server.'}"
        )


class ConsumerTimeout(ChannelsError, TimeoutError):
    """Raised when a consumer runs for longer than the worker's `consumer_timeout`, in seconds."""

    def __init__(self, channel: str, seconds: float) -> None:
        super().__init__(channel, seconds)
        self.channel = channel
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"A consumer of {self.channel!r} runs for more than {self.seconds:g} seconds, "
            "which --consumer-timeout allows."
        )


_LISTEN_HINTS = {
    errno.EADDRINUSE: "Another program listens there: stop it, or choose another endpoint with --port, --bind or "
    "--unix-socket.",
    errno.EACCES: "Ports below 1024 need privileges, and a Unix socket needs a folder that can be written: choose "
    "another --port or --unix-socket, or let a process manager pass the socket with --fd.",
    errno.EADDRNOTAVAIL: "No network interface of this machine has that address: see --bind.",
    errno.EBADF: "The descriptor is not open: see --fd.",
    errno.ENOTSOCK: "The descriptor is not a socket: see --fd.",
    errno.ENOENT: "The file or its folder does not exist.",
}
"""Hints for `CannotListen` by the number of the error; other errors have none."""

_OPTION_HINTS = {
    errno.EADDRINUSE: "Another program listens there, or this one for another of its options: choose another port for "
    "{option}.",
    errno.EACCES: "Ports below 1024 need privileges: choose another one for {option}.",
    errno.EADDRNOTAVAIL: "No network interface of this machine has that address.",
}
"""The same for an address that is not for clients, such as that of `--health`."""


class CannotListen(ChannelsError, OSError):
    """Raised when an interface server cannot listen on the endpoint it was given."""

    def __init__(self, where: str, error: OSError, option: str = "") -> None:
        super().__init__(where, error, option)
        self.where = where
        self.error = error
        self.option = option
        """The option whose value `where` is, if it is not for clients."""

    def __str__(self) -> str:
        hint = _LISTEN_HINTS.get(self.error.errno or 0, "")
        where = self.where
        if self.option:
            where += f" for {self.option}"
            hint = _OPTION_HINTS.get(self.error.errno or 0, "").format(option=self.option)
        return f"Cannot listen on {where}: {self.error.strerror or self.error}. {hint}".rstrip()


class OtherChannelsInstalled(ChannelsError, ImportError):
    """Raised when `channels_classic.compat` finds another package of the name that it provides."""

    def __init__(self, version: str | None, origin: str) -> None:
        super().__init__(version, origin)
        self.version = version
        self.origin = origin

    def __str__(self) -> str:
        what = f"Channels {self.version} is installed" if self.version else "there is another package 'channels'"
        library = " A library that requires 'channels' installs it: pip install --no-deps keeps it from doing so."
        return (
            f"channels_classic.compat cannot provide the name 'channels': {what}, at {self.origin}. Uninstall that, or "
            "remove the import of channels_classic.compat and write 'channels_classic' for 'channels' in this project."
            f"{library if self.version else ''}"
        )


class LiveServerFailed(ChannelsError, RuntimeError):
    """Raised when a process that serves a live server test does not start, or ends before the test."""

    def __init__(self, process: str, problem: str, output: str) -> None:
        super().__init__(process, problem, output)
        self.process = process
        self.problem = problem
        self.output = output

    def __str__(self) -> str:
        return f"The {self.process} of the live server test {self.problem}. Its output:\n{self.output}"


def _is_application_close_code(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool) and (code == 1000 or 3000 <= code <= 4999)
