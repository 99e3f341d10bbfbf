"""The URLs of the site."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("at home")


urlpatterns = [
    path("", home),
    path("login/", LoginView.as_view()),
    path("channels/", include("channels_classic.dashboard.urls")),
]
