"""Serve static files through the channel layer during development; in production a web server does this."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from django.conf import settings
from django.contrib.staticfiles import utils
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.views import serve
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.exception import response_for_exception
from django.http import Http404, HttpRequest, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.views import debug

from channels_classic.handler import AsgiHandler, ViewConsumer

__all__ = ["StaticFilesConsumer", "StaticFilesHandler"]


class DevelopmentStaticFiles(ASGIStaticFilesHandler):
    """Serves static files in front of an ASGI application; a path that leads out of their folders is a bad request."""

    def create_request(self, scope: Any, body_file: Any) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return a request, or the response to one with a `Content-Type` that cannot be parsed."""
        try:
            return super().create_request(scope, body_file)
        except (BadRequest, ValueError):  # Django 6.1 raises the former
            return None, HttpResponseBadRequest()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Return a response with the file."""
        try:
            return await super().get_response_async(request)
        except SuspiciousOperation as error:
            return response_for_exception(request, error)


class StaticFilesHandler(AsgiHandler):
    """Serves the paths below `STATIC_URL` with the static files finders, without middleware, and others with views.

    A file that is not found gives Django's technical 404 page with `DEBUG`, and the response of a view without.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.base_url = urlparse(self.get_base_url())

    def get_base_url(self) -> str:
        """Return `STATIC_URL`. Raises `ImproperlyConfigured` if the settings for static files are inconsistent."""
        utils.check_settings()
        return settings.STATIC_URL or ""

    def _should_handle(self, path: str) -> bool:
        return path.startswith(self.base_url.path) and not self.base_url.netloc

    def file_path(self, url: str) -> str:
        """Return the path of the file that `url` names, relative to the static directories."""
        return url2pathname(url.removeprefix(self.base_url.path))

    def serve(self, request: HttpRequest) -> HttpResponseBase:
        """Return a response with the file, with and without `DEBUG`. Raises `Http404`."""
        return serve(request, self.file_path(request.path), insecure=True)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Return a response with the file, or the response of the views."""
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
    """A consumer of `http.request` that serves static files and views."""

    handler_class = StaticFilesHandler
