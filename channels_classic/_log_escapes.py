"""Keeps what clients send from beginning lines of the log, or controlling a terminal that shows it."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import suppress

_CONTROL = re.compile(
    "[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Characters that can begin a line, control a terminal, or turn the direction of a text around; and halves of surrogate
pairs, which JSON may hold and no stream can write: the line would be lost."""

MAX_TEXT = 2000
"""Characters of the text of an error in a traceback: it may repeat what a client sent, several megabytes."""

KEEP_LINES = {"keep_lines": True}
"""The `extra` of a record with line breaks of our own, a table or a stack, and nothing from clients."""

LOGGERS = (
    "channels_classic.interface_server",
    "channels_classic.layers",
    "channels_classic.metrics",
    "channels_classic.worker",
    "django.channels",
)


def escape(text: str) -> str:
    """Return `text` with its control characters escaped, as `repr` does it."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class _EscapeControlCharacters(logging.Filter):
    """Escapes control characters in messages: paths, headers and names in them may come from clients."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it is necessary, and let it pass."""
        # Arguments that do not fit the message, and errors without a text, are for the handlers: they report what they
        # cannot write and raise nothing, so that no line of a project's code fails because it logs.
        with suppress(Exception, SystemExit):
            _escape_message(record)
        with suppress(Exception, SystemExit):
            if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
                record.exc_text = _traceback(record.exc_info[1])  # formatters use it instead of making their own
        return True


def _escape_message(record: logging.LogRecord) -> None:
    message = record.getMessage()
    lines = message.split("\n") if getattr(record, "keep_lines", False) else [message]
    escaped = "\n".join(escape(line) for line in lines)
    if escaped != message:
        record.msg, record.args = escaped, None


def _traceback(error: BaseException) -> str:
    """Return a traceback in which no line of the text of an error begins at the margin, where lines of the log do."""
    text = "".join(traceback.format_exception(error))
    for message in {message for one in _chain(error) for message in _texts(one)}:
        text = text.replace(message, _shortened(message).replace("\n", "\n    "))
    return "\n".join(escape(line) for line in text.rstrip().split("\n"))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _texts(error: BaseException) -> Iterator[str]:
    """Yield what a traceback shows of an error itself: its text and its notes."""
    with suppress(Exception, SystemExit):  # code of the project makes the text, and may fail
        yield str(error)
    with suppress(Exception, SystemExit):
        yield from map(str, error.__notes__)  # type: ignore[attr-defined]  # since Python 3.11, if there are any


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
            members = getattr(one, "exceptions", ())  # those of a group; other errors use the name for something else
            waiting += [member for member in members if isinstance(member, BaseException)]


_escape_control_characters = _EscapeControlCharacters()


def protect_loggers() -> None:
    """Escape control characters in everything that the loggers of this package write. May be called again."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_escape_control_characters)
