"""Keeps what clients send from beginning lines of the log, or controlling a terminal that shows it."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator

_CONTROL = re.compile("[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")
"""Characters that can begin a line, control a terminal, or turn the direction of a text around."""

KEEP_LINES = {"keep_lines": True}
"""The `extra` of a record with line breaks of our own, a table or a stack, and nothing from clients."""

LOGGERS = (
    "channels_classic.interface_server",
    "channels_classic.layers",
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
        message = record.getMessage()
        lines = message.split("\n") if getattr(record, "keep_lines", False) else [message]
        escaped = "\n".join(escape(line) for line in lines)
        if escaped != message:
            record.msg, record.args = escaped, None
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = _traceback(record.exc_info[1])  # formatters use it instead of making their own
        return True


def _traceback(error: BaseException) -> str:
    """Return a traceback in which no line of the text of an error begins at the margin, where lines of the log do."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    for message in {str(one) for one in _chain(error)}:
        text = text.replace(message, message.replace("\n", "\n    "))
    return "\n".join(escape(line) for line in text.split("\n"))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


_escape_control_characters = _EscapeControlCharacters()


def protect_loggers() -> None:
    """Escape control characters in everything that the loggers of this package write. May be called again."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_escape_control_characters)
