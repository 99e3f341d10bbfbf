"""Nothing is patched here any more. The module exists because projects written for Channels 1.x may import it."""

from __future__ import annotations

__all__ = ["monkeypatch_django"]


def monkeypatch_django() -> None:
    """Do nothing.

    In Channels 1.x this gave the ``runserver`` of ``django.contrib.staticfiles`` another base class. Here
    ``runserver`` inherits from that one, and a system check says when it is hidden.
    """
