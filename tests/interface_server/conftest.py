"""A running interface server at default settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interface_server.live import Live, live


@pytest.fixture
def server() -> Iterator[Live]:
    with live() as running:
        yield running
