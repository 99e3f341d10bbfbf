"""Views and routes of the test project: the admin, and nothing that a test did not put there itself."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]

channel_routing: dict[str, object] = {}
