"""Static files through the channel layer, for development; a web server does this in production."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from django.conf import settings
from django.contrib.staticfiles import utils
from django.contrib.staticfiles.views import serve
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views import debug

from channels_classic.handler import AsgiHandler, ViewConsumer

__all__ = ["StaticFilesConsumer", "StaticFilesHandler"]


class StaticFilesHandler(AsgiHandler):
    """Serves the paths below ``STATIC_URL`` from what the finders find, past the middleware; views serve the others.

    What is not found is a 404 page that explains itself when ``DEBUG`` is on, and is left to the views when it is off.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.base_url = urlparse(self.get_base_url())

    def get_base_url(self) -> str:
        """``STATIC_URL``. Raises ``ImproperlyConfigured`` when the static settings contradict one another."""
        utils.check_settings()
        return settings.STATIC_URL or ""

    def _should_handle(self, path: str) -> bool:
        return path.startswith(self.base_url.path) and not self.base_url.netloc

    def file_path(self, url: str) -> str:
        """The path of the file that ``url`` names, relative to the static directories."""
        return url2pathname(url.removeprefix(self.base_url.path))

    def serve(self, request: HttpRequest) -> HttpResponseBase:
        """The response with the file; raises ``Http404``. Works with ``DEBUG`` off."""
        return serve(request, self.file_path(request.path), insecure=True)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """The file, or what the views respond."""
        if self._should_handle(request.path):
            try:
                return self.serve(request)
            except Http404 as error:
                if settings.DEBUG:
                    return debug.technical_404_response(request, error)
            except SuspiciousOperation as error:
                return response_for_exception(request, error)
        return super().get_response(request)


class StaticFilesConsumer(ViewConsumer):
    """The consumer that serves static files and views."""

    handler_class = StaticFilesHandler
