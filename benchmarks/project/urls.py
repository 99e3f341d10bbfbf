"""The views that all contenders serve."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    """A session, the user in it, and one query more."""
    names = ", ".join(User.objects.order_by("username").values_list("username", flat=True)[:10])
    return HttpResponse(f"Hello, {request.user.get_username()}. Here are {names}.", content_type="text/plain")


def download(request: HttpRequest) -> StreamingHttpResponse:
    """Five megabytes in parts."""
    return StreamingHttpResponse(b"x" * 65536 for _ in range(80))


def endless(request: HttpRequest) -> StreamingHttpResponse:
    def ticks() -> Iterator[bytes]:
        while True:
            yield b"tick"
            time.sleep(0.05)

    return StreamingHttpResponse(ticks())


urlpatterns = [path("", hello), path("page", page), path("download", download), path("endless", endless)]
