"""Log output of the management commands, for projects that have not configured any."""

from __future__ import annotations

import logging
import re

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

_FORMAT = "%(asctime)s - %(levelname)s - %(module)s - %(message)s"


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
    """The logger ``name``, at INFO, or at DEBUG when ``verbosity`` is above 1, writing to ``handler``.

    A logger that the ``LOGGING`` setting gave a level or handlers is left as it is, and so is this package's own.
    """
    protect_loggers()
    handler.setFormatter(logging.Formatter(_FORMAT))
    for logger_name in dict.fromkeys((name, "channels_classic")):
        logger = logging.getLogger(logger_name)
        ours = [existing for existing in logger.handlers if getattr(existing, "_channels_classic", False)]
        if not ours and (logger.handlers or logger.level != logging.NOTSET):
            continue
        for existing in ours:
            logger.removeHandler(existing)
        handler._channels_classic = True  # type: ignore[attr-defined]  # tells a second call what is ours
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
        logger.propagate = False
    return logging.getLogger(name)
