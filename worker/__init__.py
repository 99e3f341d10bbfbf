"""The program that runs consumers: it takes one message, finds its consumer by the routing, and runs it."""

from __future__ import annotations

from .worker import Worker, WorkerGroup

__all__ = ["Worker", "WorkerGroup"]
