"""The pages. None of them knows of sockets: they show what the database has, the rest arrives by itself."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from blog.forms import UpdateForm
from blog.models import Blog


def index(request: HttpRequest) -> HttpResponse:
    blogs = Blog.objects.annotate(size=Count("updates"), latest=Max("updates__created"))
    return render(request, "blog/index.html", {"blogs": blogs})


def show_blog(request: HttpRequest, slug: str) -> HttpResponse:
    blog = get_object_or_404(Blog, slug=slug)
    return render(request, "blog/blog.html", {"blog": blog, "form": UpdateForm()})


def list_updates(request: HttpRequest, slug: str) -> HttpResponse:
    """The updates alone, for a page that was disconnected for a while."""
    blog = get_object_or_404(Blog, slug=slug)
    return render(request, "blog/updates.html", {"blog": blog})


@require_POST
def post_update(request: HttpRequest, slug: str) -> HttpResponse:
    if not request.user.is_staff:
        raise PermissionDenied("Only staff may post.")
    blog = get_object_or_404(Blog, slug=slug)
    form = UpdateForm(request.POST)
    form.instance.blog = blog
    if not form.is_valid():
        return render(request, "blog/blog.html", {"blog": blog, "form": form}, status=400)
    form.save()
    return redirect(blog)
