"""A running interface server at default settings, and short timeouts when one stops."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from channels_classic.interface_server.layer import session
from tests.interface_server.live import Live, live


@pytest.fixture(scope="package", autouse=True)
def _short_last_reports() -> Iterator[None]:
    """Tests often leave messages that no worker reports: a server that stops does not wait for that here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "LAST_REPORTS_TIMEOUT", 0.2)
        yield


@pytest.fixture(scope="module")
def _stopping() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def server(_stopping: ThreadPoolExecutor, request: pytest.FixtureRequest) -> Iterator[Live]:
    """A server of the test's own. It stops while the next test runs; that it did is looked at after the last one."""
    manager = live()
    yield manager.__enter__()
    stopped: Future[object] = _stopping.submit(manager.__exit__, None, None, None)
    request.node.getparent(pytest.Module).addfinalizer(stopped.result)
