"""Log output of the management commands, for records that no handler of the project gets."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone

from django.utils.log import AdminEmailHandler, RequireDebugFalse, RequireDebugTrue

from channels_classic._current import current_message
from channels_classic._log_escapes import LOGGERS, protect_loggers

__all__ = ["JSONFormatter", "MessageFilter", "handler", "setup_logger"]

handler: logging.Handler = logging.StreamHandler()
"""The stream that the commands log to; replace it, or give it a formatter, before a command runs."""

_FORMAT = "%(asctime)s - %(levelname)s - %(name)s - %(message)s"

_LEVELS = {0: (logging.WARNING, logging.WARNING), 1: (logging.INFO, logging.INFO), 2: (logging.DEBUG, logging.INFO)}
"""By verbosity: the level of the named logger, and that of this package. Beyond 2 both log everything."""

_PACKAGE = "channels_classic"

_our_levels: dict[str, int] = {}
"""Levels set here, by logger: what differs was set by the project."""


def enable_loggers() -> None:
    """Let the loggers of this package log, whatever configures logging before or later, and whatever handlers raise.

    Unless it says otherwise, a configuration switches off all loggers that exist by then and that it does not name.
    """
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.disabled = False
        if type(logger) is logging.Logger:
            logger.__class__ = _ShieldedLogger


def setup_logger(name: str, verbosity: int = 1) -> logging.Logger:
    """Return the logger `name`, which logs to `handler` what no handler of the project gets.

    With a `verbosity` of 0 it logs warnings, with 1 the events in the life of a process too, with 2 a line per message,
    with 3 everything. The same goes for the loggers of this package. Records propagate to the handlers of the project,
    and a logger that the `LOGGING` setting gave a level or handlers keeps its level.
    """
    enable_loggers()
    protect_loggers()
    if handler.formatter is None:
        handler.setFormatter(logging.Formatter(_FORMAT))
    if not any(isinstance(existing, _Unheard) for existing in handler.filters):
        handler.addFilter(_Unheard())
    levels = _LEVELS.get(verbosity, (logging.DEBUG, logging.DEBUG))
    for logger_name, level in zip((name, _PACKAGE), levels, strict=True):
        logger = logging.getLogger(logger_name)
        for existing in [existing for existing in logger.handlers if _is_ours(existing)]:
            logger.removeHandler(existing)
        is_configured = logger.handlers or logger.level not in (logging.NOTSET, _our_levels.get(logger_name))
        logger.addHandler(handler)
        if not is_configured:
            logger.setLevel(level)
            _our_levels[logger_name] = level
    return logging.getLogger(name)


class MessageFilter(logging.Filter):
    """Adds to each record the `request_id`, `channel` and `trace_id` of the message consumed; empty without one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        for name, value in _message_fields().items():
            setattr(record, name, value)
        return True


class JSONFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time in UTC, level, logger, message, process, traceback, and its `extra`.

    Records of consumers have the fields of `MessageFilter` too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **{name: value for name, value in _message_fields().items() if value},
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(fields, default=str, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            # Code of the project gave what JSON has no form for: the line is worth more than the form of a field.
            return json.dumps({name: _shown(value) for name, value in fields.items()})


def _shown(value: object) -> object:
    try:
        return value if isinstance(value, (str, int)) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


_STANDARD = {*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName", "keep_lines"}


def _message_fields() -> dict[str, str]:
    message = current_message.get()
    if message is None:
        return {"request_id": "", "channel": "", "trace_id": ""}
    trace_id = message.trace_context.get("traceparent", "")[3:35]
    return {"request_id": message.request_id, "channel": message.channel.name, "trace_id": trace_id}


class _ShieldedLogger(logging.Logger):
    """A logger that nothing switches off, and whose handlers cannot fail the program that logs.

    Handlers of the standard library report their own errors; those of others raise them, such as Django's handler that
    mails to the admins. A message whose error is logged would have no outcome then.
    """

    @property
    def disabled(self) -> bool:
        """False: a project that wants no records gives the logger a level."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Ignore what `dictConfig` and `fileConfig` set on loggers that they do not name."""

    def callHandlers(self, record: logging.LogRecord) -> None:
        """Call the handlers; write to the standard error what one of them raised, and the record."""
        try:
            super().callHandlers(record)
        except (Exception, SystemExit):
            if logging.raiseExceptions and sys.stderr:
                text = logging.Formatter(_FORMAT).format(record)
                sys.stderr.write(f"{text}\nA handler of this record failed:\n{traceback.format_exc()}")


_WITHOUT_STATE = (logging.Filter, RequireDebugFalse, RequireDebugTrue)
"""Filters that answer a second time as they did the first, by the name of the logger or by `DEBUG`."""


class _Unheard(logging.Filter):
    """Passes records that no other handler gets.

    Django's handler that mails to the admins does not count: it mails errors only, and only if there are admins.
    Filters of the project are not asked, since one that counts or compares records would take the question for a
    record: what they drop is dropped.
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
    asked = [each for each in other.filters if isinstance(each, logging.Filter) and type(each) in _WITHOUT_STATE]
    return all(each.filter(record) for each in asked)
