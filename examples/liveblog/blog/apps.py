"""The app of the blogs; it connects the receivers that make the pages grow."""

from __future__ import annotations

from django.apps import AppConfig


class BlogConfig(AppConfig):
    name = "blog"
    verbose_name = "Live blogs"

    def ready(self) -> None:
        from blog import receivers  # noqa: F401 - importing connects them
