"""Log output of the management commands, for records that no handler of the project gets."""

from __future__ import annotations

import logging
import re

from django.utils.log import AdminEmailHandler

__all__ = ["handler", "setup_logger"]

handler: logging.Handler = logging.StreamHandler()
"""The stream that the commands log to; replace it before a command runs."""

_CONTROL = re.compile("[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")
"""Characters that can begin a line, control a terminal, or turn the direction of a text around."""

_LOGGERS = (
    "channels_classic.interface_server",
    "channels_classic.layers",
    "channels_classic.worker",
    "django.channels",
)

_FORMAT = "%(asctime)s - %(levelname)s - %(name)s - %(message)s"

_LEVELS = {0: (logging.WARNING, logging.WARNING), 1: (logging.INFO, logging.INFO), 2: (logging.DEBUG, logging.INFO)}
"""By verbosity: the level of the named logger, and that of this package. Beyond 2 both log everything."""

_PACKAGE = "channels_classic"

_our_levels: dict[str, int] = {}
"""Levels set here, by logger: what differs was set by the project."""


def escape(text: str) -> str:
    """Return `text` with its control characters escaped, as `repr` does it."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class _EscapeControlCharacters(logging.Filter):
    """Escapes control characters in messages: paths, headers and names in them may come from clients."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it is necessary, and let it pass."""
        message = record.getMessage()
        escaped = escape(message)
        if escaped != message:
            record.msg, record.args = escaped, None
        return True


_escape_control_characters = _EscapeControlCharacters()


def protect_loggers() -> None:
    """Escape control characters in everything that the loggers of this package write. May be called again."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_escape_control_characters)


def setup_logger(name: str, verbosity: int = 1) -> logging.Logger:
    """Return the logger `name`, which logs to `handler` what no handler of the project gets.

    With a `verbosity` of 0 it logs warnings, with 1 the events in the life of a process too, with 2 a line per message,
    with 3 everything. The same goes for the loggers of this package. Records propagate to the handlers of the project,
    and a logger that the `LOGGING` setting gave a level or handlers is left as it is.
    """
    protect_loggers()
    handler.setFormatter(logging.Formatter(_FORMAT))
    if not any(isinstance(existing, _Unheard) for existing in handler.filters):
        handler.addFilter(_Unheard())
    levels = _LEVELS.get(verbosity, (logging.DEBUG, logging.DEBUG))
    for logger_name, level in zip((name, _PACKAGE), levels, strict=True):
        logger = logging.getLogger(logger_name)
        ours = [existing for existing in logger.handlers if _is_ours(existing)]
        if not ours and (logger.handlers or logger.level not in (logging.NOTSET, _our_levels.get(logger_name))):
            continue
        for existing in ours:
            logger.removeHandler(existing)
        logger.addHandler(handler)
        logger.setLevel(level)
        _our_levels[logger_name] = level
    return logging.getLogger(name)


class _Unheard(logging.Filter):
    """Passes records that no other handler would write.

    Django's handler that mails to the admins does not count: it mails errors only, and only if there are admins.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(_writes(other, record) for other in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


def _is_ours(other: logging.Handler) -> bool:
    return any(isinstance(existing, _Unheard) for existing in other.filters)


def _writes(other: logging.Handler, record: logging.LogRecord) -> bool:
    if _is_ours(other) or isinstance(other, (AdminEmailHandler, logging.NullHandler)) or record.levelno < other.level:
        return False
    return bool(other.filter(record))
