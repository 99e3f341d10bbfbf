"""The views that all contenders serve."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    """A session, the user in it, and one query more."""
    names = ", ".join(User.objects.order_by("username").values_list("username", flat=True)[:10])
    return HttpResponse(f"Hello, {request.user.get_username()}. Here are {names}.", content_type="text/plain")


urlpatterns = [path("", hello), path("page", page)]
