"""The worker program: takes messages from the channel layer, finds the consumer of each by the routing, and runs it."""

from __future__ import annotations

from .worker import Worker, WorkerGroup

__all__ = ["Worker", "WorkerGroup"]
