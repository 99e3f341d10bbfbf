"""The addresses of the site."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from blog import views

urlpatterns = [
    path("", views.index, name="index"),
    path("liveblog/<slug:slug>/", views.show_blog, name="blog"),
    path("liveblog/<slug:slug>/updates/", views.list_updates, name="updates"),
    path("liveblog/<slug:slug>/post/", views.post_update, name="post"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
