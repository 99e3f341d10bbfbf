"""An empty hook for projects written for Channels 1.x that import it. Nothing in Django is patched."""

from __future__ import annotations

__all__ = ["monkeypatch_django"]


def monkeypatch_django() -> None:
    """Do nothing.

    In Channels 1.x this changed the base class of the `runserver` of `django.contrib.staticfiles`. Here
    `runserver` is a subclass of that command, and a system check warns when another app hides it.
    """
