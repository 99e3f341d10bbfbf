"""The limit of sockets per process."""

from __future__ import annotations

import resource


def descriptors() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def more_descriptors() -> None:
    """Allow this process, and those that it starts from now on, as many as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
