"""Fixtures that every test may ask for: a real Redis, a real browser, free ports. pytest-django sets Django up.

Coroutines are tested by `asyncio.run(…)` inside a plain test function: each test owns its loop, and no plugin decides.
Tests that use the database ask pytest-django for `db`, or for `transactional_db` where threads or commits matter.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from channels_classic.asgi import ChannelLayerWrapper, channel_layers
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.message import pending_message_store
from tests.support import browser as browsers
from tests.support import redis_server as redis_programs
from tests.support.redis_server import RedisServer
from tests.support.waiting import scaled

collect_ignore = ["projects/migration"]
"""Projects with tests of their own, which run when they have been moved."""

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from pytest_django import Settings


# On a busy machine one example may take a second, and so may making some.
hypothesis_settings.register_profile(
    "untimed", hypothesis_settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("untimed")

# A shell starts what is in its background with these ignored, and every program that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scale the time that a test may take in all, as pytest-timeout measures it, with the deadlines in it."""
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(scaled(seconds)), append=False)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The one server that tests share; most want `redis_url`."""
    yield from _running_server()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of the shared server, empty at the start of each test."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of the test's own, which it may stop and start again."""
    yield from _running_server()


@pytest.fixture(scope="module")
def module_redis() -> Iterator[RedisServer]:
    """A server of one module, which nothing empties: for a site that several tests share."""
    yield from _running_server()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of one module: while it runs, this thread cannot use `asyncio.run` nor the database."""
    if browsers.PROGRAM is None:
        _miss("There is no Chromium here: `scripts/provide chromium` installs it.")
    with browsers.running_browser() as running:
        yield running


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on now."""
    return redis_programs.free_port()


@pytest.fixture
def cached_sessions(settings: Settings) -> None:
    """Sessions in the cache, which is empty."""
    from django.core.cache import cache

    cache.clear()
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"


@pytest.fixture
def default_layer() -> Iterator[ChannelLayerWrapper]:
    """An empty memory layer in the place of the default one, without routes."""
    wrapper = ChannelLayerWrapper(ChannelLayer(), "default", [])
    previous = channel_layers.set("default", wrapper)
    yield wrapper
    if previous is None:
        del channel_layers.backends["default"]
    else:
        channel_layers.set("default", previous)


@pytest.fixture(autouse=True)
def _own_garbage() -> Iterator[None]:
    """A socket left open in a cycle of objects is reported by the test that left it, not by a later one."""
    gc.freeze()  # what exists already need not be searched again
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Commands set the loggers up; afterwards they are as they were."""
    loggers = [logging.getLogger(name) for name in ("django.channels", "channels_classic")]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)  # also forgets which levels are enabled
        logger.propagate, logger.handlers = propagate, handlers


@pytest.fixture(autouse=True)
def _no_consumer_left() -> Iterator[None]:
    """A test that starts a consumer finishes it: the sends of all later tests would be held."""
    yield
    if pending_message_store.active:
        pending_message_store.send_and_flush()
        pytest.fail("The test sent consumer_started without consumer_finished.")


def _running_server() -> Iterator[RedisServer]:
    if redis_programs.PROGRAM is None:
        _miss("There is no redis-server here: `scripts/provide redis` installs it.")
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


def _miss(sentence: str) -> None:
    """Skip on a laptop; fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)
