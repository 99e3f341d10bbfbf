"""Log output of the management commands, for projects that have not configured any."""

from __future__ import annotations

import logging

__all__ = ["handler", "setup_logger"]

handler: logging.Handler = logging.StreamHandler()
"""The stream that the commands log to; replace it before a command runs."""

_FORMAT = "%(asctime)s - %(levelname)s - %(module)s - %(message)s"


def setup_logger(name: str, verbosity: int = 1) -> logging.Logger:
    """The logger ``name``, at INFO, or at DEBUG when ``verbosity`` is above 1, writing to ``handler``.

    A logger that the ``LOGGING`` setting gave a level or handlers is left as it is, and so is this package's own.
    """
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
