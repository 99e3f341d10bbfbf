"""Views of the site."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world", content_type="text/plain")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("this view is broken")


def stream(request: HttpRequest, size: int) -> StreamingHttpResponse:
    """Return a number of megabytes, made as they are sent."""
    return StreamingHttpResponse((b"x" * 1_000_000 for _ in range(size)), content_type="text/plain")


def count(request: HttpRequest) -> HttpResponse:
    """Return the size of the body in bytes, read in parts as a view for uploads should."""
    return HttpResponse(sum(len(part) for part in iter(lambda: request.read(65536), b"")))


urlpatterns = [path("", hello), path("broken", broken), path("stream/<int:size>", stream), path("count", count)]
