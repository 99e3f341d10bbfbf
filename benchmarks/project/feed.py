"""The recoverable group of the measurements, and what it keeps."""

from __future__ import annotations

from typing import Any

FEED = "feed"
KEPT: dict[str, Any] = {"keep": 1000, "seconds": 120}
