"""Names of consumers, and the loggers of commands."""

from __future__ import annotations

import logging
from functools import partial
from unittest import mock

import pytest

from channels_classic import log
from channels_classic.utils import name_that_thing


def function() -> None: ...


class Consumer:
    def method(self) -> None: ...

    @classmethod
    def from_class(cls) -> None: ...

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (function, "tests.test_utils.function"),
        (Consumer, "tests.test_utils.Consumer"),
        (Consumer(), "tests.test_utils.Consumer"),
        (Consumer.method, "tests.test_utils.Consumer.method"),
        (Consumer().method, "tests.test_utils.Consumer.method"),
        (Consumer.from_class, "tests.test_utils.Consumer"),
        (len, "builtins.len"),
        ([].append, "builtins.list.append"),
        (partial(function), "functools.partial"),
        (mock.Mock(), "<mock>"),
        (mock.MagicMock(name="x"), "<mock>"),
        (None, "builtins.NoneType"),
        (5, "builtins.int"),
        (logging, "logging"),
    ],
)
def test_everything_has_a_name(thing: object, name: str) -> None:
    assert name_that_thing(thing) == name


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    monkeypatch.setattr(log, "handler", logging.StreamHandler())
    for name in ("channels_classic", "tests.commands"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
        monkeypatch.setattr(logger, "level", logging.NOTSET)
    return logger


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        (0, (logging.WARNING, logging.WARNING)),
        (1, (logging.INFO, logging.INFO)),
        (2, (logging.DEBUG, logging.INFO)),
        (3, (logging.DEBUG, logging.DEBUG)),
    ],
)
def test_the_verbosity_of_a_command_decides_what_is_logged(
    logger: logging.Logger, verbosity: int, levels: tuple[int, int]
) -> None:
    assert log.setup_logger("tests.commands", verbosity) is logger
    assert (logger.level, logging.getLogger("channels_classic").level) == levels


def test_commands_log_to_the_handler_of_that_moment_and_only_once(logger: logging.Logger) -> None:
    log.setup_logger("tests.commands")
    log.setup_logger("tests.commands", 2)
    assert logger.handlers == [log.handler]
    assert logger.level == logging.DEBUG
    assert logger.propagate


def test_a_logger_that_the_project_configured_keeps_its_level(logger: logging.Logger) -> None:
    logger.setLevel(logging.ERROR)
    for _ in range(2):
        log.setup_logger("tests.commands", 2)
        assert logger.level == logging.ERROR
        assert logger.handlers == [log.handler]
        assert logger.propagate
